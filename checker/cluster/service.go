package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"

	"pitstop/checker/probe/manifest"
)

// service is how the manifests run dispatchd.
type service struct {
	set        *manifest.Set
	deployment manifest.Found[appsv1.Deployment]
	container  string
	namespace  string
	http, scan target
	budget     string // the PodDisruptionBudget's name; empty where there is none
	least      int    // replicas
	limit      int64  // memory, bytes; 0 is none
}

// target is a Service's port that leads to one of the program's.
type target struct {
	Service string
	Port    int32
}

// The program's ports, as lesson 23 states them.
const (
	httpPort  = 8080
	scanPort  = 7070
	opsPort   = 8081
	adminPort = 6060
)

// choose takes the only set, or the one that was asked for.
func choose(sets []*manifest.Set, overlay string) (*manifest.Set, error) {
	var roots []string
	for _, s := range sets {
		roots = append(roots, s.Root)
		if overlay != "" && strings.Trim(overlay, "/") == s.Root {
			return s, nil
		}
	}
	switch {
	case overlay != "":
		return nil, fmt.Errorf("no overlay %s; there is %s", overlay, strings.Join(roots, ", "))
	case len(sets) == 0:
		return nil, errors.New("no manifest in deploy would be applied")
	case len(sets) > 1:
		return nil, fmt.Errorf("several overlays, of which one can be deployed; name it as OVERLAY=%s (there is %s)", roots[0], strings.Join(roots, ", "))
	}
	return sets[0], nil
}

// interpret finds dispatchd in a set: its Deployment, the Services and the
// budget that select its pods.
func interpret(set *manifest.Set) (*service, error) {
	ds := set.Deployments(Name)
	if len(ds) != 1 {
		return nil, fmt.Errorf("%d Deployments of %s, want one", len(ds), Name)
	}
	d := ds[0]
	pod := &d.Value.Spec.Template.Spec
	c := manifest.Main(pod, Name)
	if c == nil {
		return nil, errors.New("the Deployment has no container")
	}
	svc := &service{set: set, deployment: d, container: c.Name, namespace: d.Namespace()}
	least, _ := set.Replicas(d)
	svc.least = int(least)
	svc.limit, _ = manifest.Memory(pod, c)
	labels := d.Value.Spec.Template.Labels
	for _, v := range manifest.Of[corev1.Service](set) {
		if v.Namespace() != svc.namespace || !manifest.ServiceSelects(v.Value, labels) {
			continue
		}
		for _, p := range v.Value.Spec.Ports {
			port, ok := manifest.TargetPort(pod, p)
			switch {
			case ok && port == httpPort && svc.http.Service == "":
				svc.http = target{v.Meta.Name, p.Port}
			case ok && port == scanPort && svc.scan.Service == "":
				svc.scan = target{v.Meta.Name, p.Port}
			}
		}
	}
	if svc.http.Service == "" {
		return nil, fmt.Errorf("no Service leads to port %d of the pods", httpPort)
	}
	for _, b := range manifest.Of[policyv1.PodDisruptionBudget](set) {
		if b.Namespace() == svc.namespace && manifest.Selects(b.Value.Spec.Selector, labels) {
			svc.budget = b.Meta.Name
		}
	}
	return svc, nil
}

func (v *service) url() string {
	return fmt.Sprintf("http://%s.%s.svc:%d", v.http.Service, v.namespace, v.http.Port)
}

// objects is the set as it is applied, namespaces first: as the learner wrote
// it, with the image of the program's container replaced.
func (v *service) objects(image string) (first, rest []byte, err error) {
	var namespaces, others []map[string]any
	for _, o := range v.set.Objects {
		if o.GVK.Kind == "Namespace" && o.GVK.Group == "" {
			namespaces = append(namespaces, o.Fields)
			continue
		}
		fields := o.Fields
		if o == v.deployment.Object {
			if fields, err = withImage(fields, v.container, image); err != nil {
				return nil, nil, err
			}
		}
		others = append(others, fields)
	}
	if first, err = listOf(namespaces); err != nil {
		return nil, nil, err
	}
	rest, err = listOf(others)
	return first, rest, err
}

func listOf(objects []map[string]any) ([]byte, error) {
	if len(objects) == 0 {
		return nil, nil
	}
	return json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": objects})
}

// withImage is a copy of a Deployment's fields in which one container has
// another image.
func withImage(fields map[string]any, container, image string) (map[string]any, error) {
	b, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	var own map[string]any
	if err := json.Unmarshal(b, &own); err != nil {
		return nil, err
	}
	var at any = own
	for _, key := range []string{"spec", "template", "spec", "containers"} {
		m, _ := at.(map[string]any)
		at = m[key]
	}
	containers, _ := at.([]any)
	for _, c := range containers {
		if m, ok := c.(map[string]any); ok && m["name"] == container {
			m["image"] = image
			return own, nil
		}
	}
	return nil, fmt.Errorf("the Deployment has no container %s", container)
}
