package cluster

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// duplicate runs one more pod of the Deployment beside it, changed a little,
// under labels of its own: the Service sends it nothing and the budget does
// not count it. It returns the pod once done says so, and a function that
// takes it away.
func (s *Session) duplicate(ctx context.Context, r *Record, name string, change func(*corev1.Container), done func(*corev1.Pod) bool) (*corev1.Pod, func(), error) {
	d, err := s.deployment(ctx)
	if err != nil {
		return nil, nil, err
	}
	labels := map[string]string{"app": name, "pitstop/copy": name}
	spec := d.Spec
	one := int32(1)
	spec.Replicas = &one
	spec.Selector = &metav1.LabelSelector{MatchLabels: maps.Clone(labels)}
	spec.Template.Labels = maps.Clone(labels)
	for i := range spec.Template.Spec.Containers {
		if c := &spec.Template.Spec.Containers[i]; c.Name == s.service.container {
			change(c)
		}
	}
	object, err := json.Marshal(map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": name, "namespace": d.Namespace, "labels": labels},
		"spec":     spec,
	})
	if err != nil {
		return nil, nil, err
	}
	remove := func() {
		ctx, cancel := after(ctx)
		defer cancel()
		_, _ = s.kubectl(ctx, "--namespace", d.Namespace, "delete", "deployment", name, "--ignore-not-found", "--wait=false")
		_, _ = s.kubectl(ctx, "--namespace", d.Namespace, "delete", "pods", "--selector", "pitstop/copy="+name, "--ignore-not-found", "--wait=false", "--grace-period=1")
	}
	r.Say("a copy of the pod as Deployment %s", name)
	if err := s.apply(ctx, object); err != nil {
		remove()
		return nil, nil, err
	}
	var pod *corev1.Pod
	err = poll(ctx, 90*time.Second, func() (bool, error) {
		pods, err := read[corev1.PodList](ctx, s, "--namespace", d.Namespace, "pods", "--selector", "pitstop/copy="+name)
		if err != nil {
			return false, err
		}
		for i := range pods.Items {
			if p := &pods.Items[i]; p.DeletionTimestamp == nil && p.Status.PodIP != "" && done(p) {
				pod = p
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		err = s.explain(ctx, r, err, d.Namespace, name)
		remove()
	}
	return pod, remove, err
}

// running reports whether the program's container has been started, be it
// ready or not.
func (s *Session) running(p *corev1.Pod) bool {
	for _, c := range p.Status.ContainerStatuses {
		if c.Name == s.service.container && c.State.Running != nil {
			return true
		}
	}
	return false
}
