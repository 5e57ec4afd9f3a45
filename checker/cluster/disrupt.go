package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
)

// lowest follows how many pods are there, and keeps the fewest.
type lowest struct {
	mu   sync.Mutex
	n    int32
	seen bool
}

func (l *lowest) see(n int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.seen || n < l.n {
		l.n, l.seen = n, true
	}
}

func (l *lowest) get() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return float64(l.n)
}

// watchAvailable follows the Deployment's available replicas.
func (s *Session) watchAvailable(ctx context.Context) (*lowest, func(), error) {
	l := &lowest{}
	stop, err := follow(ctx, s, func(_ string, d *appsv1.Deployment) { l.see(d.Status.AvailableReplicas) },
		"--namespace", s.service.namespace, "deployment", s.service.deployment.Meta.Name)
	return l, stop, err
}

func (s *Session) verifyRolling(ctx context.Context, r *Record) error {
	depots, err := s.depots(ctx)
	if err != nil {
		return err
	}
	d, err := s.deployment(ctx)
	if err != nil {
		return err
	}
	fewest, stop, err := s.watchAvailable(ctx)
	if err != nil {
		return err
	}
	defer stop()
	var took time.Duration
	err = s.under(ctx, r, "during the rolling update", depots, true, func() error {
		begin := time.Now()
		r.Say("kubectl rollout restart deployment/%s", d.Name)
		if _, err := s.kubectl(ctx, "--namespace", d.Namespace, "rollout", "restart", "deployment/"+d.Name); err != nil {
			return err
		}
		if err := s.rolledOut(ctx, r, d.Namespace, d.Name); err != nil {
			return err
		}
		r.Say("new pods are ready; wait until the old ones have ended")
		if err := s.settled(ctx, 90*time.Second); err != nil {
			return err
		}
		took = time.Since(begin)
		return nil
	})
	if err != nil {
		return err
	}
	r.Note("fewest pods available", fewest.get(), "")
	r.Note("pods replaced", float64(*d.Spec.Replicas), "")
	r.Note("from the first to the last", took.Seconds(), "s")
	return nil
}

func (s *Session) verifyDeleted(ctx context.Context, r *Record) error {
	depots, err := s.depots(ctx)
	if err != nil {
		return err
	}
	pods, err := s.pods(ctx)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return errors.New("there is no pod to delete")
	}
	p := pods[0]
	var took time.Duration
	err = s.under(ctx, r, "while a pod was deleted", depots, true, func() error {
		begin := time.Now()
		r.Say("kubectl delete pod %s", p.Name)
		if _, err := s.kubectl(ctx, "--namespace", p.Namespace, "delete", "pod", p.Name); err != nil {
			return err
		}
		if err := s.settled(ctx, 2*time.Minute); err != nil {
			return s.explain(ctx, r, err, p.Namespace, s.service.deployment.Meta.Name)
		}
		took = time.Since(begin)
		return nil
	})
	if err != nil {
		return err
	}
	r.Note("until it had ended and another was ready", took.Seconds(), "s")
	return nil
}

func (s *Session) verifyKilled(ctx context.Context, r *Record) error {
	depots, err := s.depots(ctx)
	if err != nil {
		return err
	}
	pods, err := s.pods(ctx)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return errors.New("there is no pod to kill")
	}
	p := pods[len(pods)-1]
	before := restartsOf(&p, s.service.container)
	g, err := s.cgroup(ctx, &p, s.service.container)
	if err != nil {
		return err
	}
	var took time.Duration
	var now int32
	err = s.under(ctx, r, "while a process was killed", depots, false, func() error {
		begin := time.Now()
		r.Say("SIGKILL to %s of pod %s on %s", s.service.container, p.Name, p.Spec.NodeName)
		if err := g.kill(ctx); err != nil {
			return err
		}
		err := poll(ctx, 2*time.Minute, func() (bool, error) {
			again, err := read[corev1.Pod](ctx, s, "--namespace", p.Namespace, "pod", p.Name)
			if err != nil {
				return false, err
			}
			now = restartsOf(again, s.service.container)
			return now > before && ready(again), nil
		})
		took = time.Since(begin)
		if err != nil {
			return s.explain(ctx, r, err, p.Namespace, s.service.deployment.Meta.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.Equal("restarts", float64(now-before), 1, "")
	r.Note("until it was ready again", took.Seconds(), "s")
	return nil
}

func (s *Session) verifyDrained(ctx context.Context, r *Record) error {
	depots, err := s.depots(ctx)
	if err != nil {
		return err
	}
	nodes, err := read[corev1.NodeList](ctx, s, "nodes")
	if err != nil {
		return err
	}
	if n := len(schedulable(nodes.Items)); !r.AtLeast("nodes that pods may run on", float64(n), 2, "") {
		r.Find("kind.nodes", "Pods have %d node to run on, and a drain leaves them none; give kind.yaml two nodes of `role: worker`, and run `make kind-down kind-up kind-deploy`.", n).File = s.where("kind.yaml")
		return nil
	}
	if s.service.budget == "" {
		r.Find("manifest.budget", "No PodDisruptionBudget selects the pods, so a drain may take all of a node at once.")
		return nil
	}
	node, count, err := s.nodeToDrain(ctx, nodes.Items)
	if err != nil {
		return err
	}
	if node == "" {
		return skip("every node with a pod of dispatchd's is closed, or holds all of the cluster's DNS")
	}
	var fewest lowest
	var mu sync.Mutex
	var desired int32
	stop, err := follow(ctx, s, func(_ string, b *policyv1.PodDisruptionBudget) {
		fewest.see(b.Status.CurrentHealthy)
		mu.Lock()
		defer mu.Unlock()
		desired = b.Status.DesiredHealthy
	}, "--namespace", s.service.namespace, "poddisruptionbudget", s.service.budget)
	if err != nil {
		return err
	}
	defer stop()
	defer func() {
		ctx, cancel := after(ctx)
		defer cancel()
		_, _ = s.kubectl(ctx, "uncordon", node)
	}()
	var took time.Duration
	err = s.under(ctx, r, "while the node was drained", depots, true, func() error {
		begin := time.Now()
		r.Say("kubectl drain %s, with %d pods of dispatchd's", node, count)
		if _, err := s.kubectl(ctx, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout="+rolloutTime.String()); err != nil {
			if ctx.Err() != nil {
				return err
			}
			r.Find("drain.stuck", "The drain does not end: %s", lastLine(said(err)))
			return s.explain(ctx, r, nil, s.service.namespace, s.service.deployment.Meta.Name)
		}
		took = time.Since(begin)
		if err := s.settled(ctx, 2*time.Minute); err != nil {
			return s.explain(ctx, r, err, s.service.namespace, s.service.deployment.Meta.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	if !r.AtLeast("fewest pods healthy", fewest.get(), float64(desired), "") {
		r.Find("drain.budget", "%.0f pods were healthy at the worst moment, and the budget wants %d.", fewest.get(), desired)
	}
	r.Note("pods moved", float64(count), "")
	r.Note("drain", took.Seconds(), "s")
	return nil
}

// nodeToDrain picks the node with the most pods of dispatchd's, of those
// without the cluster's DNS where there is one: its pods moving is another
// matter. A node with all of the DNS is not drained.
func (s *Session) nodeToDrain(ctx context.Context, nodes []corev1.Node) (string, int, error) {
	pods, err := s.pods(ctx)
	if err != nil {
		return "", 0, err
	}
	dns, err := read[corev1.PodList](ctx, s, "--namespace", "kube-system", "pods", "--selector", "k8s-app=kube-dns")
	if err != nil {
		return "", 0, err
	}
	best, most, free := "", 0, false
	for _, node := range schedulable(nodes) {
		on := func(list []corev1.Pod) (n int) {
			for _, p := range list {
				if p.Spec.NodeName == node {
					n++
				}
			}
			return n
		}
		count, names := on(pods), on(dns.Items)
		switch {
		case count == 0, names > 0 && names == len(dns.Items):
		case best == "", names == 0 && !free, (names == 0) == free && count > most:
			best, most, free = node, count, names == 0
		}
	}
	return best, most, nil
}
