package manifests_test

import (
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"pitstop/checker/probe"
	"pitstop/checker/probe/manifest"
	manifests "pitstop/lessons/23_manifests"
)

// deployment is one Deployment of dispatchd, with what stands around it.
type deployment struct {
	manifest.Found[appsv1.Deployment]
	set  *manifest.Set
	pod  *corev1.PodSpec
	main *corev1.Container
}

var load = sync.OnceValues(func() ([]*manifest.Set, []manifest.Problem) {
	return manifest.Load(os.DirFS("."), manifests.Deploy)
})

// deployments returns every Deployment of dispatchd in every set. There is
// more than one where there are several overlays; each has to be right. Where
// there is none, one test says so and the others have nothing to say.
func deployments(t *testing.T) []deployment {
	t.Helper()
	sets, _ := load()
	var all []deployment
	for _, s := range sets {
		for _, d := range s.Deployments(manifests.Name) {
			pod := &d.Value.Spec.Template.Spec
			if main := manifest.Main(pod, manifests.Name); main != nil {
				all = append(all, deployment{d, s, pod, main})
			}
		}
	}
	return all
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

func TestManifests_DecodeStrictly(t *testing.T) {
	sets, problems := load()
	probe.AtMost(t, "manifests that Kubernetes would not read as written", len(problems), 0, "")
	for _, p := range problems {
		probe.Errorf(t, "manifest.decode", "%s", p)
	}
	for _, s := range sets {
		ours := slices.ContainsFunc(deployments(t), func(d deployment) bool { return d.set == s })
		if !probe.Equal(t, "sets with a Deployment", count(ours), 1, "") && len(problems) == 0 {
			probe.Errorf(t, "manifest.missing", "What kubectl takes from %s is %d objects, and no Deployment of %s with a container is among them.", s.Root, len(s.Objects), manifests.Name)
		}
	}
	if len(sets) == 0 && len(problems) == 0 {
		probe.Errorf(t, "manifest.missing", "No manifest in deploy would be applied.")
	}
}

func TestGrace_OutlastsTheShutdown(t *testing.T) {
	for _, d := range deployments(t) {
		grace, sleep, shutdown := manifest.Grace(d.pod), manifest.PreStopSleep(d.main), seconds(manifests.ShutdownBudget)
		if !probe.AtLeast(t, "grace period", grace, sleep+shutdown+1, "s") {
			probe.Errorf(t, "manifest.grace", "%s: SIGKILL comes %d s after the pod's deletion. The preStop sleep takes %d s of that and the shutdown up to %d s (%d s of drain in it): %d s, so it must be more than that.",
				d, grace, sleep, shutdown, seconds(manifests.DrainDelay), sleep+shutdown)
		}
	}
}

func TestMemory_IsLimitedAndTheRuntimeKnows(t *testing.T) {
	for _, d := range deployments(t) {
		limit, _ := manifest.Memory(d.pod, d.main)
		if !probe.AtLeast(t, "memory limit", limit, 1, "B") {
			probe.Errorf(t, "manifest.memory", "%s: container %s has no memory limit, so one pod may take the whole node's.", d, d.main.Name)
			continue
		}
		v, given := d.set.Env(d.Namespace(), d.pod, d.main)["GOMEMLIMIT"]
		if !given {
			probe.Errorf(t, "manifest.memory", "%s: the memory limit is %s and GOMEMLIMIT is not set. Neither Kubernetes nor the runtime sets it, so the heap grows past the limit.", d, probe.Bytes(limit))
			continue
		}
		if !v.Known {
			probe.Errorf(t, "manifest.memory", "%s: GOMEMLIMIT comes from %s, whose value these files do not hold, so nobody can tell that it is below the limit of %s.", d, v.Source, probe.Bytes(limit))
			continue
		}
		soft, ok := manifest.ParseMemoryLimit(v.Text)
		if !ok {
			probe.Errorf(t, "manifest.memory", "%s: GOMEMLIMIT is %q, which the Go runtime refuses: the process ends before main. It takes bytes, or a whole number with B, KiB, MiB, GiB or TiB.", d, v.Text)
			continue
		}
		if !probe.AtMost(t, "GOMEMLIMIT", soft, limit-manifests.BesideHeap, "B") {
			size := probe.Bytes(soft)
			if v.Text == "off" {
				size = "no limit"
			}
			probe.Errorf(t, "manifest.memory", "%s: GOMEMLIMIT is %q (%s, from %s) and the memory limit %s. The process needs %s beside what GOMEMLIMIT counts, so %s is the most it may say.",
				d, v.Text, size, v.Source, probe.Bytes(limit), probe.Bytes(int64(manifests.BesideHeap)), probe.Bytes(max(0, limit-manifests.BesideHeap)))
		}
	}
}

func TestLiveness_DoesNotAskTheDatabase(t *testing.T) {
	for _, d := range deployments(t) {
		p := d.main.LivenessProbe
		if p == nil || p.HTTPGet == nil {
			continue
		}
		asks := manifest.HTTPPath(p.HTTPGet)
		if !probe.Equal(t, "liveness probes of the path that asks the database", count(asks == manifests.ReadyPath), 0, "") {
			probe.Errorf(t, "manifest.liveness", "%s: the liveness probe asks %s, which asks the database: %d s after the database turns slow, the kubelet restarts all pods at once. %s asks nobody.",
				d, asks, manifest.Defaulted(p).Window(), manifests.LivePath)
		}
	}
}

func TestImage_IsPinned(t *testing.T) {
	for _, d := range deployments(t) {
		for _, c := range slices.Concat(d.pod.InitContainers, d.pod.Containers) {
			i := manifest.ParseImage(c.Image)
			moving := i.Digest == "" && (i.Tag == "" || i.Tag == "latest")
			if !probe.Equal(t, "images whose name may mean another one tomorrow", count(moving), 0, "") {
				tag := "the tag latest"
				if i.Tag == "" {
					tag = "no tag, which means latest"
				}
				probe.Errorf(t, "manifest.image", "%s: container %s runs %q, with %s: two pods of one Deployment may run two programs, and a rollback finds nothing to go back to.", d, c.Name, c.Image, tag)
			}
		}
	}
}

func TestRollout_TakesNoPodAwayFirst(t *testing.T) {
	for _, d := range deployments(t) {
		least, most := d.set.Replicas(d.Found)
		for _, n := range slices.Compact([]int32{least, most}) {
			away, extra, ok := manifest.Rollout(d.Value, n)
			if !ok {
				probe.Errorf(t, "manifest.rollout", "%s: the strategy %q is no rolling update that can be read: all %d pods go before one comes.", d, d.Value.Spec.Strategy.Type, n)
				break
			}
			fine := probe.AtMost(t, "pods that a rollout takes away first", away, 0, "pods")
			fine = probe.AtLeast(t, "pods that a rollout adds first", extra, 1, "pods") && fine
			if !fine {
				probe.Errorf(t, "manifest.rollout", "%s: of %d pods a rollout takes %d away before it has new ones, and adds %d first. Rounding and the defaults of 25 %% are in these numbers; 0 and at least 1 keep all %d serving.", d, n, away, extra, n)
				break
			}
		}
	}
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}
