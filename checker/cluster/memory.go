package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// filled is what outside fill did.
type filled struct {
	Put      int            `json:"put"`
	Refused  int            `json:"refused"`
	Dropped  int            `json:"dropped"`
	Failures map[string]int `json:"failures"`
	Seconds  float64        `json:"seconds"`
}

func (s *Session) fill(ctx context.Context, d depot, p *corev1.Pod, mib int) (f filled, err error) {
	out, err := s.at(ctx, d, "fill", "-url", fmt.Sprintf("http://%s:%d", p.Status.PodIP, httpPort), "-mib", fmt.Sprint(mib), "-prefix", p.Name)
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal([]byte(lastLine(out)), &f)
}

func (s *Session) verifyMemory(ctx context.Context, r *Record) error {
	v := s.service
	if v.limit == 0 {
		r.Find("manifest.memory", "The container has no memory limit, so there is nothing to stay under.")
		return nil
	}
	depots, err := s.depots(ctx)
	if err != nil {
		return err
	}
	pods, err := s.pods(ctx)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return errors.New("there is no pod to fill")
	}
	mib := int(2 * v.limit >> 20)

	p := pods[0]
	g, err := s.cgroup(ctx, &p, v.container)
	if err != nil {
		return err
	}
	before := restartsOf(&p, v.container)
	r.Say("outside fill: %d pictures of 1 MiB, photos and labels in turn, to pod %s", mib, p.Name)
	f, err := s.fill(ctx, depots[0], &p, mib)
	if err != nil {
		return err
	}
	now, err := read[corev1.Pod](ctx, s, "--namespace", p.Namespace, "pod", p.Name)
	if err != nil {
		return err
	}
	if f.Dropped > 0 { // the kubelet tells a little later
		_ = poll(ctx, 10*time.Second, func() (bool, error) {
			if p, err := read[corev1.Pod](ctx, s, "--namespace", p.Namespace, "pod", p.Name); err == nil {
				now = p
			}
			return restartsOf(now, v.container) > before, nil
		})
	}
	r.Note("sent to yours", float64(f.Put+f.Refused+f.Dropped)*(1<<20), "B")
	r.Note("of these taken", float64(f.Put)*(1<<20), "B")
	restarts := restartsOf(now, v.container) - before
	if peak, ok := g.peak(ctx); ok {
		r.AtMost("most memory that yours had", peak, float64(v.limit), "B")
	}
	if own, ok := g.own(ctx); ok {
		r.AtMost("memory of its own afterwards", own, float64(v.limit), "B")
	}
	if kills, ok := g.kills(ctx); ok {
		r.Equal("OOM kills of yours", kills, 0, "")
	}
	if !r.Equal("restarts of yours", float64(restarts), 0, "") || f.Dropped > 0 {
		ended := lastEnd(now, v.container)
		r.Find("memory.killed", "Your build did not live through %d MiB of pictures under a limit of %d MiB: %d were taken, %d got no answer, and its container was restarted %d times (%s). Photos must stay within the budget of lesson 09, and a label must not hold its document (lesson 07).",
			mib, v.limit>>20, f.Put, f.Dropped, restarts, ended)
	}
	if err := s.unsolvedDies(ctx, r, depots[0], mib); err != nil {
		return err
	}
	if r.failed() { // the next step begins with all pods
		_ = s.settled(ctx, time.Minute)
	}
	return nil
}

// unsolvedDies fills the unsolved build in the same way, under the same
// manifests. That it is killed shows that the fill is worth something.
func (s *Session) unsolvedDies(ctx context.Context, r *Record, d depot, mib int) error {
	const name = Name + "-unsolved"
	v := s.service
	pod, remove, err := s.duplicate(ctx, r, name, func(c *corev1.Container) { c.Image = s.unsolved }, s.running)
	if err != nil {
		return err
	}
	defer remove()
	// It may run and not listen yet.
	if err := poll(ctx, 30*time.Second, func() (bool, error) {
		a, err := s.ask(ctx, d, fmt.Sprintf("tcp://%s:%d", pod.Status.PodIP, httpPort))
		return err == nil && a[0].Status != 0, err
	}); err != nil {
		return fmt.Errorf("the unsolved build does not listen: %w", err)
	}
	r.Say("outside fill: %d pictures of 1 MiB to the unsolved build", mib)
	f, err := s.fill(ctx, d, pod, mib)
	if err != nil {
		return err
	}
	r.Note("sent to the unsolved build", float64(f.Put+f.Refused+f.Dropped)*(1<<20), "B")
	var last *corev1.ContainerStateTerminated
	err = poll(ctx, 30*time.Second, func() (bool, error) {
		p, err := read[corev1.Pod](ctx, s, "--namespace", v.namespace, "pod", pod.Name)
		if err != nil {
			return false, err
		}
		last = terminated(p, v.container)
		return last != nil, nil
	})
	if err != nil || last == nil {
		return fmt.Errorf("the unsolved build lives: it took %d MiB under a limit of %d MiB, so the fill shows nothing", f.Put, v.limit>>20)
	}
	r.Equal("exit status of the unsolved build", float64(last.ExitCode), 137, "")
	r.Say("the unsolved build ended as %s, status %d, after %d MiB", last.Reason, last.ExitCode, f.Put)
	if last.Reason != "OOMKilled" {
		return fmt.Errorf("the unsolved build ended as %s with status %d, and not by its memory", last.Reason, last.ExitCode)
	}
	return nil
}

// terminated is how a container ended last, nil where it has not.
func terminated(p *corev1.Pod, container string) *corev1.ContainerStateTerminated {
	for _, c := range p.Status.ContainerStatuses {
		switch {
		case c.Name != container:
		case c.State.Terminated != nil:
			return c.State.Terminated
		case c.LastTerminationState.Terminated != nil:
			return c.LastTerminationState.Terminated
		}
	}
	return nil
}

func lastEnd(p *corev1.Pod, container string) string {
	t := terminated(p, container)
	if t == nil {
		return "it runs"
	}
	return fmt.Sprintf("%s, status %d", t.Reason, t.ExitCode)
}
