package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// timeline keeps when something was first seen, in seconds since a pod's
// deletion.
type timeline struct {
	mu    sync.Mutex
	begin time.Time
	at    map[string]float64
}

func (t *timeline) see(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.at[what]; !known && !t.begin.IsZero() {
		t.at[what] = time.Since(t.begin).Seconds()
	}
}

func (t *timeline) start() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begin = time.Now()
}

func (t *timeline) when(what string) (float64, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.at[what]
	return v, ok
}

// verifyReadiness deletes a pod and looks at it from three sides: the
// kubelet's word on the pod, the endpoints that nodes send connections to, and
// what a new connection gets.
func (s *Session) verifyReadiness(ctx context.Context, r *Record) error {
	v := s.service
	pods, err := s.pods(ctx)
	if err != nil {
		return err
	}
	depots, err := s.depots(ctx)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return errors.New("there is no pod to delete")
	}
	p := pods[0]
	from := depots[0]
	for _, d := range depots {
		if d.node != p.Spec.NodeName {
			from = d
		}
	}
	seen := &timeline{at: map[string]float64{}}
	stopPod, err := follow(ctx, s, func(event string, now *corev1.Pod) {
		if now.DeletionTimestamp != nil && !ready(now) {
			seen.see("pod unready")
		}
		ended := slices.ContainsFunc(now.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
			return c.Name == v.container && c.State.Terminated != nil
		})
		if now.DeletionTimestamp != nil && ended || event == "DELETED" {
			seen.see("container ended")
		}
	}, "--namespace", p.Namespace, "pod", p.Name)
	if err != nil {
		return err
	}
	defer stopPod()
	stopSlices, err := follow(ctx, s, func(_ string, slice *discoveryv1.EndpointSlice) {
		for _, e := range slice.Endpoints {
			if e.TargetRef == nil || e.TargetRef.Name != p.Name {
				continue
			}
			is := func(b *bool) bool { return b != nil && *b }
			if !is(e.Conditions.Ready) {
				seen.see("endpoint unready")
			}
			if is(e.Conditions.Terminating) && is(e.Conditions.Serving) {
				seen.see("endpoint terminating but serving")
			}
		}
	}, "--namespace", p.Namespace, "endpointslices", "--selector", discoveryv1.LabelServiceName+"="+v.http.Service)
	if err != nil {
		return err
	}
	defer stopSlices()

	// What new connections get, one every tenth of a second.
	cmd := s.command(ctx, "kubectl", s.onCluster([]string{"--namespace", "depots", "exec", from.pod, "--", "/outside", "watch",
		"-for", "2m", fmt.Sprintf("http://%s:%d/health/ready", p.Status.PodIP, httpPort)})...)
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	asked := make(chan struct{})
	begun := make(chan struct{})
	go func() {
		defer close(asked)
		for lines, first := bufio.NewScanner(pipe), true; lines.Scan(); first = false {
			var a answer
			if json.Unmarshal(lines.Bytes(), &a) != nil {
				continue
			}
			switch a.Status {
			case http.StatusServiceUnavailable:
				seen.see("503")
			case 0:
				seen.see("no answer")
			}
			if first {
				close(begun)
			}
		}
		_ = cmd.Wait()
	}()
	select {
	case <-begun:
	case <-asked:
		return errors.New("outside watch ended at once")
	}

	seen.start()
	r.Say("kubectl delete pod %s, watched from %s", p.Name, from.node)
	if _, err := s.kubectl(ctx, "--namespace", p.Namespace, "delete", "pod", p.Name); err != nil {
		return err
	}
	select {
	case <-asked:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := s.settled(ctx, 2*time.Minute); err != nil {
		return s.explain(ctx, r, err, p.Namespace, s.service.deployment.Meta.Name)
	}

	end, ended := seen.when("container ended")
	gone, silent := seen.when("no answer")
	if !ended || !silent {
		return errors.New("the end of the pod was not seen")
	}
	for _, what := range []string{"endpoint unready", "endpoint terminating but serving", "pod unready", "503"} {
		if at, ok := seen.when(what); ok {
			r.Note(what+", since deletion", at, "s")
		}
	}
	r.Note("no more connection, since deletion", gone, "s")
	r.Note("container ended, since deletion", end, "s")
	away, ok := seen.when("endpoint unready")
	if !ok || !r.AtLeast("endpoint unready before end of service", gone-away, 1, "s") {
		r.Find("readiness.endpoint", "The pod stopped serving before the nodes could hear that it would: the endpoint turned unready %.1f s after the deletion, and the last connection was served at %.1f s. A preStop sleep and a drain make room.", away, gone)
	}
	unready, ok := seen.when("503")
	if !ok {
		r.Find("readiness.late", "The pod never answered 503 to its readiness probe before it stopped listening at %.1f s: whoever goes by the probe, as a load balancer outside does, learned nothing (lessons 03 and 22).", gone)
	} else if !r.AtLeast("first 503 before end of service", gone-unready, 1, "s") {
		r.Find("readiness.late", "The first 503 came %.1f s before the pod stopped listening; that is too short for a probe to be seen (lessons 03 and 22).", gone-unready)
	}
	return nil
}
