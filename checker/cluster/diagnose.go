package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// explain makes findings of why pods of a namespace are not ready; with a
// Deployment's name, of the pods that it makes now. Where nothing is to be
// seen, err, which began it, is returned.
func (s *Session) explain(ctx context.Context, r *Record, err error, namespace, deployment string) error {
	if ctx.Err() != nil {
		return err
	}
	causes, e := s.causes(ctx, namespace, deployment)
	if e != nil || len(causes) == 0 {
		return err
	}
	for _, c := range causes {
		f := r.Find(c.code, "%s", c.text)
		if c.pod != "" && c.code != "pod.image" && c.code != "pod.unschedulable" {
			f.Detail = s.lastWords(ctx, namespace, c.pod)
		}
	}
	return nil
}

// causes asks the cluster for what diagnose needs to know.
func (s *Session) causes(ctx context.Context, namespace, deployment string) ([]cause, error) {
	pods, err := read[corev1.PodList](ctx, s, "--namespace", namespace, "pods")
	if err != nil {
		return nil, err
	}
	events, err := read[corev1.EventList](ctx, s, "--namespace", namespace, "events")
	if err != nil {
		return nil, err
	}
	if deployment == "" {
		return diagnose(pods.Items, events.Items), nil
	}
	sets, err := read[appsv1.ReplicaSetList](ctx, s, "--namespace", namespace, "replicasets")
	if err != nil {
		return nil, err
	}
	newest := newestOf(sets.Items, deployment)
	if newest == nil {
		return nil, nil
	}
	own := slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return !ownedBy(p.OwnerReferences, newest.Name) })
	return append(diagnose(own, events.Items), refusals([]appsv1.ReplicaSet{*newest})...), nil
}

func ownedBy(refs []metav1.OwnerReference, name string) bool {
	return slices.ContainsFunc(refs, func(o metav1.OwnerReference) bool { return o.Name == name })
}

// newestOf is the ReplicaSet that a Deployment makes pods with now.
func newestOf(sets []appsv1.ReplicaSet, deployment string) *appsv1.ReplicaSet {
	var newest *appsv1.ReplicaSet
	highest := -1
	for i, rs := range sets {
		revision, err := strconv.Atoi(rs.Annotations["deployment.kubernetes.io/revision"])
		if err == nil && revision > highest && ownedBy(rs.OwnerReferences, deployment) {
			newest, highest = &sets[i], revision
		}
	}
	return newest
}

// hopeless are the causes that do not go away by themselves.
var hopeless = []string{"pod.image", "pod.config", "pod.start", "pod.refused", "pod.memory", "pod.crash", "pod.unschedulable"}

// patience is how long such a cause may last all the same: a Secret or a
// ServiceAccount that comes a little later, a first start that fails.
const patience = 25 * time.Second

// rolledOut waits until the Deployment's pods are all of the newest kind and
// ready. It makes findings of why they are not, and does not wait out the
// time where that is plain.
func (s *Session) rolledOut(ctx context.Context, r *Record, namespace, deployment string) error {
	var since time.Time
	gaveUp := errors.New("it does not get better")
	err := poll(ctx, rolloutTime, func() (bool, error) {
		d, err := read[appsv1.Deployment](ctx, s, "--namespace", namespace, "deployment", deployment)
		if err != nil || complete(d) {
			return err == nil, err
		}
		causes, err := s.causes(ctx, namespace, deployment)
		if err != nil {
			return false, err
		}
		if !slices.ContainsFunc(causes, func(c cause) bool { return slices.Contains(hopeless, c.code) }) {
			since = time.Time{}
			return false, nil
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) > patience {
			return true, gaveUp
		}
		return false, nil
	})
	if err == nil {
		return nil
	}
	n := len(r.v.Findings)
	if e := s.explain(ctx, r, err, namespace, deployment); e != nil {
		return fmt.Errorf("the rollout of %s: %w", deployment, e)
	}
	if len(r.v.Findings) == n {
		return err
	}
	return errNotReady
}

// errNotReady ends a step whose findings say why.
var errNotReady = errors.New("the pods are not ready")

// complete reports whether a rollout has ended well, as kubectl rollout
// status does.
func complete(d *appsv1.Deployment) bool {
	st, want := d.Status, int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	return st.ObservedGeneration >= d.Generation && st.UpdatedReplicas >= want && st.Replicas == st.UpdatedReplicas && st.AvailableReplicas == st.UpdatedReplicas
}

// lastWords is what a pod's container printed last, before it was restarted
// where it was.
func (s *Session) lastWords(ctx context.Context, namespace, pod string) string {
	for _, previous := range []string{"--previous=true", "--previous=false"} {
		if out, err := s.kubectl(ctx, "--namespace", namespace, "logs", pod, "--tail=6", previous); err == nil && strings.TrimSpace(out) != "" {
			return strings.TrimSpace(out)
		}
	}
	return ""
}

// cause is why pods are not ready. Pod is one of them, whose log says more.
type cause struct{ code, text, pod string }

// diagnose says why pods are not ready: one sentence for all that are so for
// the same reason.
func diagnose(pods []corev1.Pod, events []corev1.Event) []cause {
	var all []cause
	counts := map[string]int{}
	add := func(pod, code, format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		counts[text]++
		if counts[text] == 1 {
			all = append(all, cause{code, text, pod})
		}
	}
	for _, p := range pods {
		if p.DeletionTimestamp != nil || ready(&p) || p.Status.Phase == corev1.PodSucceeded {
			continue
		}
		known := len(all) + sum(counts)
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
				add(p.Name, "pod.unschedulable", "no node takes the pod: %s", c.Message)
			}
		}
		for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			container(p.Name, c, add)
		}
		if len(all)+sum(counts) > known {
			continue
		}
		if e := lastEvent(p.Name, "Unhealthy", events); e != "" {
			add(p.Name, "pod.probe", "the pod runs and is not ready: %s", e)
		} else if p.Status.Phase == corev1.PodRunning {
			add(p.Name, "pod.unready", "the pod runs and is not ready, and the kubelet says no more")
		}
	}
	for i, c := range all {
		if n := counts[c.text]; n > 1 {
			all[i].text = fmt.Sprintf("%d pods: %s", n, c.text)
		} else {
			all[i].text = fmt.Sprintf("pod %s: %s", c.pod, c.text)
		}
	}
	return all
}

func sum(counts map[string]int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}

func container(pod string, c corev1.ContainerStatus, add func(pod, code, format string, args ...any)) {
	ended := c.State.Terminated
	if ended == nil {
		ended = c.LastTerminationState.Terminated
	}
	switch w := c.State.Waiting; {
	case w == nil && (ended == nil || c.Ready):
	case w != nil && (w.Reason == "ErrImagePull" || w.Reason == "ImagePullBackOff" || w.Reason == "ErrImageNeverPull"):
		add(pod, "pod.image", "the image %s is not on the node and cannot be pulled. dispatchd was loaded into the nodes under one tag: imagePullPolicy must not be Always, and every container needs an image that is there.", c.Image)
	case w != nil && (w.Reason == "CreateContainerConfigError" || w.Reason == "CreateContainerError" || w.Reason == "InvalidImageName"):
		message, _, _ := strings.Cut(w.Message, " (pod:") // whose name differs
		add(pod, "pod.config", "the container %s cannot be made: %s", c.Name, message)
	case w != nil && w.Reason == "RunContainerError", ended != nil && ended.Reason == "StartError":
		message := ""
		if w != nil {
			message = w.Message
		}
		if ended != nil && ended.Message != "" {
			message = ended.Message
		}
		add(pod, "pod.start", "the container %s cannot start: %s", c.Name, tail(message, 240))
	case ended != nil && ended.Reason == "OOMKilled":
		add(pod, "pod.memory", "the container %s was killed at its memory limit (OOMKilled, status %d), %d times", c.Name, ended.ExitCode, c.RestartCount)
	case ended != nil:
		add(pod, "pod.crash", "the container %s ends by itself with status %d (%s), and was started %d times", c.Name, ended.ExitCode, ended.Reason, c.RestartCount+1)
	}
}

// tail keeps the end of a message, which is where runtimes say why.
func tail(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return "…" + strings.ToValidUTF8(s[len(s)-most:], "")
}

func lastEvent(pod, reason string, events []corev1.Event) string {
	message := ""
	for _, e := range events {
		if e.InvolvedObject.Name == pod && e.Reason == reason {
			message = e.Message
		}
	}
	return message
}

// refusals says why ReplicaSets cannot make pods at all, as when the
// namespace's Pod Security level refuses them.
func refusals(sets []appsv1.ReplicaSet) []cause {
	var all []cause
	for _, rs := range sets {
		for _, c := range rs.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
				all = append(all, cause{code: "pod.refused", text: fmt.Sprintf("no pod of %s can be made: %s", rs.Name, c.Message)})
			}
		}
	}
	return all
}

// ready reports whether a pod takes requests.
func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
