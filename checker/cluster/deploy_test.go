package cluster

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pitstop/checker/lesson"
	"pitstop/checker/probe/manifest"
	"pitstop/checker/workshop"
	"pitstop/solutions"
)

// reference is what the reference manifests of lesson 23 say.
func reference(t *testing.T) *service {
	t.Helper()
	sub, err := fs.Sub(solutions.Tree(), "solutions/"+Manifests)
	if err != nil {
		t.Fatal(err)
	}
	sets, problems := manifest.Load(sub, "deploy")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	set, err := choose(sets, "")
	if err != nil {
		t.Fatal(err)
	}
	v, err := interpret(set)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestInterpret_FindsWhatSelectsThePods(t *testing.T) {
	v := reference(t)
	if v.namespace != "dispatch" || v.container != Name || v.budget != Name || v.least != 4 || v.limit != 192<<20 {
		t.Errorf("namespace %s, container %s, budget %s, %d replicas, limit %d", v.namespace, v.container, v.budget, v.least, v.limit)
	}
	if v.url() != "http://dispatchd.dispatch.svc:80" || v.scan.Port != 7070 {
		t.Errorf("url %s, scanners %+v", v.url(), v.scan)
	}
}

func TestObjects_ReplaceTheImageAndNothingElse(t *testing.T) {
	v := reference(t)
	first, rest, err := v.objects("dispatchd:v9")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(first), `"Namespace"`) || strings.Contains(string(rest), `"Namespace"`) {
		t.Error("the namespace is not applied first")
	}
	before, _ := json.Marshal(v.deployment.Fields)
	if !strings.Contains(string(before), "v1.8.2") {
		t.Error("the set that was read has been changed")
	}
	want := strings.Replace(string(before), "registry.example.com/courier/dispatchd:v1.8.2", "dispatchd:v9", 1)
	if !strings.Contains(string(rest), want) {
		t.Errorf("the Deployment differs in more than its image:\n%s", rest)
	}
}

func TestChoose_AsksWhichOverlay(t *testing.T) {
	sets := []*manifest.Set{{Root: "deploy/overlays/prod"}, {Root: "deploy/overlays/test"}}
	if _, err := choose(sets, ""); err == nil || !strings.Contains(err.Error(), "OVERLAY=deploy/overlays/prod") {
		t.Errorf("two overlays: %v", err)
	}
	if s, err := choose(sets, "deploy/overlays/test/"); err != nil || s != sets[1] {
		t.Errorf("the named overlay: %v, %v", s, err)
	}
	if _, err := choose(sets, "deploy/overlays/live"); err == nil {
		t.Error("an overlay that is not there is chosen")
	}
	if _, err := choose(nil, ""); err == nil {
		t.Error("no set at all is chosen")
	}
}

// The checker's own manifests hold to what it asks of the learner's.
func TestOutside_DecodesAndIsRestricted(t *testing.T) {
	text, err := renderOutside("outside:v1", "dispatchd-unsolved:v1", "dispatch")
	if err != nil {
		t.Fatal(err)
	}
	sets, problems := manifest.Load(fstest.MapFS{"deploy/outside.yaml": {Data: text}}, "deploy")
	if len(problems) > 0 || len(sets) != 1 {
		t.Fatalf("%d sets, problems %v", len(sets), problems)
	}
	for _, d := range manifest.Of[appsv1.Deployment](sets[0]) {
		if bad := manifest.Restricted(&d.Value.Spec.Template); len(bad) > 0 {
			t.Errorf("%s: %v", d, bad)
		}
	}
	for _, d := range manifest.Of[appsv1.DaemonSet](sets[0]) {
		if bad := manifest.Restricted(&d.Value.Spec.Template); len(bad) > 0 {
			t.Errorf("%s: %v", d, bad)
		}
	}
}

func TestDiagnose_SaysWhyPodsAreNotReady(t *testing.T) {
	pod := func(name string, c corev1.ContainerStatus) corev1.Pod {
		c.Name = Name
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{c}}}
	}
	waiting := func(reason, message string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Image: "dispatchd:v1", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
	}
	ended := func(c corev1.ContainerStatus, reason string, status int32, message string) corev1.ContainerStatus {
		c.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: reason, ExitCode: status, Message: message}
		return c
	}
	unscheduled := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available"}}}}
	for _, c := range []struct {
		name string
		pods []corev1.Pod
		want string
	}{
		{"two for one reason", []corev1.Pod{pod("a", waiting("ImagePullBackOff", "")), pod("b", waiting("ImagePullBackOff", ""))}, "pod.image: 2 pods: the image dispatchd:v1"},
		{"root refused", []corev1.Pod{pod("a", waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root"))}, "pod.config: pod a: the container dispatchd cannot be made: container has runAsNonRoot"},
		{"no shell", []corev1.Pod{pod("a", ended(waiting("CrashLoopBackOff", "back-off"), "StartError", 128, `exec: "/bin/sh": no such file`))}, `pod.start: pod a: the container dispatchd cannot start: exec: "/bin/sh"`},
		{"out of memory", []corev1.Pod{pod("a", ended(waiting("CrashLoopBackOff", ""), "OOMKilled", 137, ""))}, "pod.memory: pod a: the container dispatchd was killed at its memory limit"},
		{"it ends", []corev1.Pod{pod("a", ended(waiting("CrashLoopBackOff", ""), "Error", 2, ""))}, "pod.crash: pod a: the container dispatchd ends by itself with status 2"},
		{"a probe", []corev1.Pod{pod("probed", corev1.ContainerStatus{})}, "pod.probe: pod probed: the pod runs and is not ready: Readiness probe failed: 503"},
		{"no node", []corev1.Pod{unscheduled}, "pod.unschedulable: pod a: no node takes the pod: 0/3 nodes are available"},
	} {
		t.Run(c.name, func(t *testing.T) {
			events := []corev1.Event{{InvolvedObject: corev1.ObjectReference{Name: "probed"}, Reason: "Unhealthy", Message: "Readiness probe failed: 503"}}
			got := diagnose(c.pods, events)
			if len(got) != 1 || !strings.HasPrefix(got[0].code+": "+got[0].text, c.want) {
				t.Errorf("got %+v, want one of %q", got, c.want)
			}
		})
	}
	fine := pod("fine", corev1.ContainerStatus{Ready: true})
	fine.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	if got := diagnose([]corev1.Pod{fine}, nil); len(got) != 0 {
		t.Errorf("a ready pod: %+v", got)
	}
}

func TestReport_AddsUp(t *testing.T) {
	var all report
	all.add(report{Requests: 10, P99: 5, Seconds: 2})
	all.add(report{Requests: 20, Failed: 3, Failures: map[string]int{"EOF": 1, "503": 2}, P99: 9, First: "10:00:02", Last: "10:00:03"})
	all.add(report{Requests: 5, Failed: 2, Failures: map[string]int{"EOF": 2}, First: "10:00:01", Last: "10:00:01"})
	if all.Requests != 35 || all.Failed != 5 || all.P99 != 9 || all.First != "10:00:01" || all.Last != "10:00:03" {
		t.Errorf("%+v", all)
	}
	if got := all.failures(); got != "3× EOF, 2× 503" {
		t.Errorf("failures %q", got)
	}
}

func TestReport_LateIsWhatABusyMachineLooksLike(t *testing.T) {
	for _, c := range []struct {
		name string
		r    report
		want bool
	}{
		{"all well", report{Requests: 1000, Slow: 900}, false},
		{"two gave up in the end", report{Requests: 1000, Slow: 9, Failed: 2, Late: 2}, true},
		{"one was refused as well", report{Requests: 1000, Slow: 50, Failed: 3, Late: 2}, false},
		{"it said no at once", report{Requests: 1000, Slow: 3, Failed: 1}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.r.late(); got != c.want {
				t.Errorf("late: %v, want %v", got, c.want)
			}
		})
	}
}

// An overlay holds the mends of every lesson, and takes away what the learner
// has put beside them.
func TestOverlay_PutsEveryMendInTheLearnersPlace(t *testing.T) {
	archive, err := fs.ReadFile(solutions.Tree(), lesson.PristineFile)
	if err != nil {
		t.Fatal(err)
	}
	pristine, err := lesson.ParsePristine(archive)
	if err != nil {
		t.Fatal(err)
	}
	w := &workshop.Workshop{Root: t.TempDir(), Pristine: pristine, Solutions: solutions.Tree()}
	for _, l := range pristine.Lessons {
		for name, b := range l.Files {
			writeFile(t, filepath.Join(w.Root, filepath.FromSlash(l.Folder()), filepath.FromSlash(name)), b)
		}
	}
	own := filepath.Join(w.Root, "lessons/01_bounded_workers/mine.go")
	writeFile(t, own, []byte("package pool\n"))
	for name, from := range map[string]Source{"reference": Reference, "unsolved": Unsolved} {
		t.Run(name, func(t *testing.T) {
			at, err := (&Session{Workshop: w}).overlay(from, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(at)
			if err != nil {
				t.Fatal(err)
			}
			var o struct{ Replace map[string]string }
			if err := json.Unmarshal(b, &o); err != nil {
				t.Fatal(err)
			}
			if to, ok := o.Replace[own]; !ok || to != "" {
				t.Errorf("the learner's own file is replaced by %q, %v", to, ok)
			}
			pool := filepath.Join(w.Root, "lessons/01_bounded_workers/pool.go")
			got, err := os.ReadFile(o.Replace[pool])
			if err != nil {
				t.Fatal(err)
			}
			shipped := pristine.Lessons[0].Files["pool.go"]
			if same := string(got) == string(shipped); same != (name == "unsolved") {
				t.Errorf("pool.go is as it was shipped: %v", same)
			}
		})
	}
}

func writeFile(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
