package cluster

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pitstop/checker/probe/manifest"
)

var deploySteps = []Step{
	{"manifests", "read lessons/23_manifests/deploy as lesson 23 does, and put the built image in", (*Session).readManifests, true},
	{"images", "build dispatchd, the unsolved dispatchd and the outside world, and load them into the nodes", (*Session).loadImages, true},
	{"outside", "the world outside: namespaces data and depots, the database's Service, the Secret with its address", (*Session).applyOutside, true},
	{"dispatchd", "apply the manifests, and wait until every pod is ready", (*Session).applyService, true},
}

// rolloutTime is how long a rollout may take: four pods one after the other,
// each of which starts and drains.
const rolloutTime = 4 * time.Minute

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

func (s *Session) readManifests(_ context.Context, r *Record) error {
	if s.service != nil {
		return nil
	}
	var fsys fs.FS = os.DirFS(filepath.Join(s.Workshop.Root, "lessons", Manifests))
	where := "lessons/" + Manifests
	if s.Source == Reference {
		sub, err := fs.Sub(s.Workshop.Solutions, "solutions/"+Manifests)
		if err != nil {
			return err
		}
		fsys, where = sub, "solutions/"+Manifests
	}
	sets, problems := manifest.Load(fsys, "deploy")
	for _, p := range problems {
		r.Find("manifest.decode", "%s", p.Message).File = where + "/" + p.File
	}
	if len(problems) > 0 {
		return nil
	}
	set, err := choose(sets, s.Overlay)
	if err != nil {
		r.Find("manifest.overlay", "%v", err).File = where
		return nil
	}
	svc, err := interpret(set)
	if err != nil {
		r.Find("manifest.missing", "%v", err).File = where
		return nil
	}
	s.service = svc
	r.Note("objects", float64(len(set.Objects)), "")
	r.Note("replicas", float64(svc.least), "")
	r.Note("memory limit", float64(svc.limit), "B")
	return nil
}

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

func (s *Session) loadImages(ctx context.Context, r *Record) error {
	if err := s.found(ctx); err != nil {
		return err
	}
	b, _, err := s.stamped(ctx, r)
	if b == nil || err != nil || r.failed() {
		return err
	}
	s.image = b
	dockerfile, err := os.ReadFile(filepath.Join(b.Context, "Dockerfile"))
	if err != nil {
		return err
	}
	if fetched := fetches(dockerfile); len(fetched) > 0 {
		r.Find("image.fetches", "The Dockerfile fetches %s; `make image` says more.", fetched[0].What).File = s.where("Dockerfile")
		return nil
	}
	r.Say("docker build -t %s", b.Ref)
	if err := s.dockerBuild(ctx, b.Ref, b.Context, b.Version, b.Revision); err != nil {
		r.Find("image.build", "docker build refuses the Dockerfile: %s", lastLine(said(err))).File = s.where("Dockerfile")
		return nil
	}
	others := []struct {
		ref  *string
		from Source
		name string
		file []byte
	}{
		{&s.unsolved, Unsolved, Name, referenceDockerfile},
		{&s.outside, s.Source, "outside", outsideDockerfile},
	}
	for _, o := range others {
		r.Say("go build ./lessons/%s/cmd/%s, %s", Capstone, o.name, map[Source]string{Unsolved: "as the lessons were shipped", Learner: "as it is", Reference: "as it is"}[o.from])
		out, err := s.program(ctx, o.from, o.name, b.Arch, nil)
		if err != nil {
			return s.compileError(r, err)
		}
		binary, err := os.ReadFile(out)
		if err != nil {
			return err
		}
		version := contentVersion(map[string][]byte{"binary": binary, "Dockerfile": o.file})
		*o.ref = o.name + ":" + version
		if o.from == Unsolved {
			*o.ref = o.name + "-unsolved:" + version
		}
		dir, err := s.layOut(o.name, o.file, binary)
		if err != nil {
			return err
		}
		if err := s.dockerBuild(ctx, *o.ref, dir, version, b.Revision); err != nil {
			return err
		}
	}
	r.Say("kind load image-archive: %s, %s, %s", b.Ref, s.unsolved, s.outside)
	return s.load(ctx, b.Ref, s.unsolved, s.outside)
}

// The checker's own images are not the learner's to get wrong.
var (
	referenceDockerfile = []byte("FROM scratch\nCOPY dispatchd /dispatchd\nUSER 65532:65532\nENTRYPOINT [\"/dispatchd\"]\n")
	outsideDockerfile   = []byte("FROM scratch\nCOPY outside /outside\nUSER 65532:65532\nENTRYPOINT [\"/outside\"]\n")
)

//go:embed outside/outside.yaml
var outsideManifests string

// database is where the world answers as the database.
const database = "http://postgres.data.svc:5432"

func (s *Session) applyOutside(ctx context.Context, r *Record) error {
	first, _, err := s.service.objects(s.image.Ref)
	if err != nil {
		return err
	}
	if first != nil {
		if err := s.apply(ctx, first); err != nil {
			return err
		}
	}
	if _, err := s.kubectl(ctx, "get", "namespace", s.service.namespace); err != nil {
		r.Find("manifest.namespace", "The Deployment is in the namespace %s, and no manifest makes it.", s.service.namespace)
		return nil
	}
	text, err := renderOutside(s.outside, s.unsolved, s.service.namespace)
	if err != nil {
		return err
	}
	if err := s.apply(ctx, text); err != nil {
		return err
	}
	secret, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"metadata":   map[string]any{"name": "dispatchd-database", "namespace": s.service.namespace},
		"stringData": map[string]any{"url": database},
	})
	if err != nil {
		return err
	}
	if err := s.apply(ctx, secret); err != nil {
		return err
	}
	for namespace, what := range map[string]string{"data": "deployment/postgres", "depots": "daemonset/depot"} {
		r.Say("wait for %s in %s", what, namespace)
		if _, err := s.kubectl(ctx, "--namespace", namespace, "rollout", "status", what, "--timeout=120s"); err != nil {
			return s.explain(ctx, r, err, namespace, "")
		}
	}
	return nil
}

func renderOutside(outside, unsolved, namespace string) ([]byte, error) {
	t, err := template.New("outside.yaml").Parse(outsideManifests)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]string{"Outside": outside, "Unsolved": unsolved, "Namespace": namespace})
	return b.Bytes(), err
}

func (s *Session) applyService(ctx context.Context, r *Record) error {
	v := s.service
	_, rest, err := v.objects(s.image.Ref)
	if err != nil {
		return err
	}
	if err := s.sweep(ctx, r); err != nil {
		return err
	}
	r.Say("kubectl apply --server-side: %d objects, image %s", len(v.set.Objects), s.image.Ref)
	if err := s.apply(ctx, rest); err != nil {
		if ctx.Err() != nil {
			return err
		}
		r.Find("manifest.refused", "The API server refuses the manifests: %s", lastLines(said(err), 3))
		return nil
	}
	begin := time.Now()
	if _, err := s.kubectl(ctx, "--namespace", v.namespace, "rollout", "status", "deployment/"+v.deployment.Meta.Name, "--timeout="+rolloutTime.String()); err != nil {
		return s.explain(ctx, r, err, v.namespace, "deployment")
	}
	d, err := read[appsv1.Deployment](ctx, s, "--namespace", v.namespace, "deployment", v.deployment.Meta.Name)
	if err != nil {
		return err
	}
	r.Equal("pods ready", float64(d.Status.ReadyReplicas), float64(*d.Spec.Replicas), "")
	r.Note("until all were", time.Since(begin).Seconds(), "s")
	return nil
}

// sweep takes away what an earlier deploy applied and the manifests no longer
// hold: a NetworkPolicy that was deleted from the folder would go on filtering.
func (s *Session) sweep(ctx context.Context, r *Record) error {
	const kinds = "deployments,services,configmaps,serviceaccounts,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers"
	type listed struct {
		Items []struct {
			Kind     string
			Metadata metav1.ObjectMeta
		}
	}
	all, err := read[listed](ctx, s, "--namespace", s.service.namespace, kinds, "--show-managed-fields")
	if err != nil {
		return err
	}
	for _, o := range all.Items {
		ours := slices.ContainsFunc(o.Metadata.ManagedFields, func(m metav1.ManagedFieldsEntry) bool { return m.Manager == manager })
		kept := strings.HasPrefix(o.Metadata.Name, "pitstop-") || slices.ContainsFunc(s.service.set.Objects, func(k *manifest.Object) bool {
			return k.GVK.Kind == o.Kind && k.Meta.Name == o.Metadata.Name && k.Namespace() == o.Metadata.Namespace
		})
		if !ours || kept {
			continue
		}
		r.Say("%s/%s is in no manifest any more: deleted", o.Kind, o.Metadata.Name)
		if _, err := s.kubectl(ctx, "--namespace", s.service.namespace, "delete", o.Kind, o.Metadata.Name, "--wait=false"); err != nil {
			return err
		}
	}
	return nil
}
