package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// denyAll closes one depot to everyone, to see whether that has an effect.
const denyAll = `{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
	"metadata": {"name": "pitstop-probe", "namespace": "depots"},
	"spec": {"podSelector": {"matchLabels": {"pitstop/probe": "closed"}}, "policyTypes": ["Ingress"]}}`

func (s *Session) verifyNetwork(ctx context.Context, r *Record) error {
	depots, err := s.depots(ctx)
	if err != nil {
		return err
	}
	if len(depots) < 2 {
		return skip("the cluster has one node, and not every network filters within a node; give kind.yaml workers")
	}
	if err := s.enforces(ctx, r, depots[0], depots[1]); err != nil {
		return err
	}
	pods, err := s.pods(ctx)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return errors.New("there is no pod to ask")
	}
	pod := pods[0]
	var near, far []depot
	for _, d := range depots {
		if d.node == pod.Spec.NodeName {
			near = append(near, d)
		} else {
			far = append(far, d)
		}
	}

	if len(near) == 0 || len(far) == 0 {
		return errors.New("there is no depot on the pod's node, or none on another")
	}
	at := func(scheme string, port int) string { return fmt.Sprintf("%s://%s:%d", scheme, pod.Status.PodIP, port) }
	r.Say("into pod %s on %s, from %s", pod.Name, pod.Spec.NodeName, far[0].node)
	in, err := s.ask(ctx, far[0], at("http", httpPort)+"/health/live", at("tcp", scanPort), at("tcp", opsPort), at("tcp", adminPort))
	if err != nil {
		return err
	}
	for i, open := range []bool{true, true, false, false} {
		s.judge(r, "in, port "+fmt.Sprint([]int{httpPort, scanPort, opsPort, adminPort}[i]), in[i], open,
			"From a depot, %s gives: %s. The depots' orders and scanners come in there; the NetworkPolicy must let them.",
			"From a depot, %s gives: %s. Only the ports 8080 and 7070 are for everyone; a NetworkPolicy with these two alone closes the others.")
	}

	// From within, by a debugging container; the pod keeps it, so another pod
	// takes its place afterwards.
	defer func() {
		ctx, cancel := after(ctx)
		defer cancel()
		_, _ = s.kubectl(ctx, "--namespace", pod.Namespace, "delete", "pod", pod.Name, "--wait=false")
	}()
	outside := fmt.Sprintf("http://%s:8080/", far[0].ip)
	r.Say("out of pod %s: the database, and a depot on %s", pod.Name, far[0].node)
	out, err := s.look(ctx, &pod, "get", at127("tcp", opsPort), "tcp://postgres.data.svc:5432", outside)
	if err != nil {
		return err
	}
	if len(out) != 3 {
		return fmt.Errorf("outside get: %d answers to 3 questions", len(out))
	}
	r.Note("port 8081 from inside the pod, reached", reached(out[0]), "")
	if out[0].Status == 0 {
		r.Say("nothing listens on 8081 inside the pod (%s), so that it is closed to the depots says little", out[0].Error)
	}
	s.judge(r, "out, to the database", out[1], true, "From dispatchd's pod, %s gives: %s. The NetworkPolicy must let the pods ask DNS and the database.", "")
	s.judge(r, "out, to something else", out[2], false, "", "From dispatchd's pod, %s gives: %s. Whoever breaks into it can go on from there: Egress that names DNS and the database alone stops that.")
	// The same question from outside dispatchd's policy shows that there is an answer.
	control, err := s.ask(ctx, near[0], outside)
	if err != nil {
		return err
	}
	if !r.Equal("the same from a depot beside it", reached(control[0]), 1, "") {
		return fmt.Errorf("a depot beside the pod gets %s from %s too, so this shows nothing", control[0], outside)
	}
	return nil
}

func at127(scheme string, port int) string { return fmt.Sprintf("%s://127.0.0.1:%d", scheme, port) }

func reached(a answer) float64 {
	if a.Status == 0 {
		return 0
	}
	return 1
}

// judge records whether something was reached, and finds where that is wrong.
func (s *Session) judge(r *Record, what string, a answer, open bool, closedWrongly, openWrongly string) {
	want, text := 0.0, openWrongly
	if open {
		want, text = 1, closedWrongly
	}
	if !r.Equal(what+", reached", reached(a), want, "") {
		r.Find("network.policy", text, a.URL, a)
	}
}

// enforces finds out whether the cluster's network obeys a NetworkPolicy at
// all: a depot is closed to everyone, and asked from another node.
func (s *Session) enforces(ctx context.Context, r *Record, from, to depot) error {
	url := fmt.Sprintf("tcp://%s:8080", to.ip)
	before, err := s.ask(ctx, from, url)
	if err != nil {
		return err
	}
	if before[0].Status == 0 {
		return fmt.Errorf("from %s to %s: %s, without any policy", from.node, to.node, before[0])
	}
	defer func() {
		ctx, cancel := after(ctx)
		defer cancel()
		_, _ = s.kubectl(ctx, "--namespace", "depots", "delete", "networkpolicy", "pitstop-probe", "--ignore-not-found")
		_, _ = s.kubectl(ctx, "--namespace", "depots", "label", "pod", to.pod, "pitstop/probe-")
	}()
	r.Say("does the network filter? %s is closed, and asked from %s", to.node, from.node)
	if _, err := s.kubectl(ctx, "--namespace", "depots", "label", "--overwrite", "pod", to.pod, "pitstop/probe=closed"); err != nil {
		return err
	}
	if err := s.apply(ctx, []byte(denyAll)); err != nil {
		return err
	}
	begin := time.Now()
	err = poll(ctx, 20*time.Second, func() (bool, error) {
		a, err := s.ask(ctx, from, url)
		return err == nil && a[0].Status == 0, nil
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return skip("the cluster's network does not enforce NetworkPolicy: a pod that is closed to everyone still answers; kind's own network does since v0.24")
	}
	r.Note("until a policy takes effect", time.Since(begin).Seconds(), "s")
	return nil
}
