package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var verifySteps = []Step{
	{"rollout", "every replica is there and ready, and none was restarted", (*Session).verifyRollout, true},
	{"load", "ask the Service from every node for ten seconds: nothing fails", (*Session).verifyLoad, false},
	{"rolling", "restart every pod by a rolling update under load: nothing fails", (*Session).verifyRolling, false},
	{"deleted", "delete a pod under load: nothing fails, and another takes its place", (*Session).verifyDeleted, false},
	{"killed", "kill a process with SIGKILL under load: it comes back; what fails is counted", (*Session).verifyKilled, false},
	{"drained", "drain a node under load: nothing fails, and never are fewer pods healthy than the budget says", (*Session).verifyDrained, false},
	{"memory", "fill a pod beyond its limit: it stays alive; the unsolved build beside it is OOM-killed", (*Session).verifyMemory, false},
	{"readiness", "delete a pod and watch: it turns unready first, goes on serving, and ends then", (*Session).verifyReadiness, false},
	{"profile", "fetch a goroutine profile from the admin port of a pod through kubectl port-forward", (*Session).verifyProfile, false},
	{"debug", "look into a running pod with kubectl debug: its processes, its ports on loopback", (*Session).verifyDebug, false},
	{"network", "try what the NetworkPolicy allows and what it does not, from another node", (*Session).verifyNetwork, false},
}

// deployed finds out what kind-deploy left in the cluster.
func (s *Session) deployed(ctx context.Context, r *Record) error {
	if err := s.found(ctx); err != nil {
		return err
	}
	quiet := &Record{say: r.say}
	if err := s.readManifests(ctx, quiet); err != nil {
		return err
	}
	if s.service == nil {
		r.v.Outcome, r.v.Findings = quiet.v.Outcome, quiet.v.Findings
		return nil
	}
	ns, err := read[corev1.Namespace](ctx, s, "namespace", "depots")
	if err != nil {
		return fmt.Errorf("%w; run `make kind-deploy`", err)
	}
	s.outside, s.unsolved = ns.Annotations["pitstop/outside-image"], ns.Annotations["pitstop/unsolved-image"]
	return nil
}

func (s *Session) deployment(ctx context.Context) (*appsv1.Deployment, error) {
	return read[appsv1.Deployment](ctx, s, "--namespace", s.service.namespace, "deployment", s.service.deployment.Meta.Name)
}

// pods are the Deployment's that are not being deleted, by name.
func (s *Session) pods(ctx context.Context) ([]corev1.Pod, error) {
	all, err := s.allPods(ctx)
	return slices.DeleteFunc(all, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil }), err
}

func (s *Session) allPods(ctx context.Context) ([]corev1.Pod, error) {
	selector := metav1.FormatLabelSelector(s.service.deployment.Value.Spec.Selector)
	pods, err := read[corev1.PodList](ctx, s, "--namespace", s.service.namespace, "pods", "--selector", selector)
	if err != nil {
		return nil, err
	}
	return pods.Items, nil
}

// settled waits until every replica is ready and every other pod has ended.
func (s *Session) settled(ctx context.Context, limit time.Duration) error {
	return poll(ctx, limit, func() (bool, error) {
		d, err := s.deployment(ctx)
		if err != nil {
			return false, err
		}
		pods, err := s.allPods(ctx)
		if err != nil {
			return false, err
		}
		n := 0
		for _, p := range pods {
			if p.DeletionTimestamp == nil && ready(&p) {
				n++
			}
		}
		return n == len(pods) && n == int(*d.Spec.Replicas) && d.Status.UpdatedReplicas == *d.Spec.Replicas, nil
	})
}

func (s *Session) verifyRollout(ctx context.Context, r *Record) error {
	if err := s.deployed(ctx, r); err != nil || s.service == nil {
		return err
	}
	v := s.service
	if err := s.rolledOut(ctx, r, v.namespace, v.deployment.Meta.Name); err != nil {
		return err
	}
	if err := s.settled(ctx, 90*time.Second); err != nil {
		return s.explain(ctx, r, err, v.namespace, v.deployment.Meta.Name)
	}
	d, err := s.deployment(ctx)
	if err != nil {
		return err
	}
	pods, err := s.pods(ctx)
	if err != nil {
		return err
	}
	nodes := map[string]int{}
	restarts := 0
	for _, p := range pods {
		nodes[p.Spec.NodeName]++
		restarts += int(restartsOf(&p, v.container))
	}
	r.Equal("pods ready", float64(d.Status.ReadyReplicas), float64(*d.Spec.Replicas), "")
	r.Note("nodes they are on", float64(len(nodes)), "")
	r.Note("restarts so far", float64(restarts), "")
	for _, c := range d.Spec.Template.Spec.Containers {
		if c.Name == v.container {
			r.Say("image %s, Service %s", c.Image, v.url())
		}
	}
	return nil
}

func restartsOf(p *corev1.Pod, container string) int32 {
	for _, c := range p.Status.ContainerStatuses {
		if c.Name == container {
			return c.RestartCount
		}
	}
	return 0
}

func (s *Session) verifyLoad(ctx context.Context, r *Record) error {
	depots, err := s.depots(ctx)
	if err != nil {
		return err
	}
	pods, err := s.pods(ctx)
	if err != nil {
		return err
	}
	away := 0 // depots on a node without a pod of dispatchd's
	for _, d := range depots {
		if !slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.Spec.NodeName == d.node }) {
			away++
		}
	}
	r.Note("depots", float64(len(depots)), "")
	r.Note("depots on a node without dispatchd", float64(away), "")
	return s.under(ctx, r, "with nothing else going on", depots, true, func() error { return pause(ctx, 6*time.Second) })
}
