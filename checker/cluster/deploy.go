package cluster

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
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

func (s *Session) readManifests(_ context.Context, r *Record) error {
	if s.service != nil {
		return nil
	}
	fsys := os.DirFS(filepath.Join(s.Workshop.Root, "lessons", Manifests))
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

// database is where the world answers as the database. The name is whole, with
// a dot at its end: otherwise each lookup tries three longer ones first.
const database = "http://postgres.data.svc.cluster.local.:5432"

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
	if err := s.rolledOut(ctx, r, v.namespace, v.deployment.Meta.Name); err != nil {
		return err
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
// hold, of the kinds that do something by themselves: a NetworkPolicy that was
// deleted from the folder would go on filtering.
func (s *Session) sweep(ctx context.Context, r *Record) error {
	const kinds = "deployments,services,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers"
	type listed struct {
		Items []struct {
			Kind     string
			Metadata metav1.ObjectMeta
			Spec     struct {
				Template corev1.PodTemplateSpec
			}
		}
	}
	want := s.service.deployment.Value.Spec.Template.Spec.ServiceAccountName
	all, err := read[listed](ctx, s, "--namespace", s.service.namespace, kinds, "--show-managed-fields")
	if err != nil {
		return err
	}
	for _, o := range all.Items {
		ours := slices.ContainsFunc(o.Metadata.ManagedFields, func(m metav1.ManagedFieldsEntry) bool { return m.Manager == manager })
		kept := strings.HasPrefix(o.Metadata.Name, "pitstop-") || slices.ContainsFunc(s.service.set.Objects, func(k *manifest.Object) bool {
			return k.GVK.Kind == o.Kind && k.Meta.Name == o.Metadata.Name && k.Namespace() == o.Metadata.Namespace
		})
		// The account's older name keeps it in the pod when it is taken back.
		stuck := o.Kind == "Deployment" && want == "" && o.Spec.Template.Spec.DeprecatedServiceAccount != ""
		switch {
		case !ours || kept && !stuck:
			continue
		case kept:
			r.Say("%s/%s has a ServiceAccount that the manifests no longer name: deleted, and made anew", o.Kind, o.Metadata.Name)
		default:
			r.Say("%s/%s is in no manifest any more: deleted", o.Kind, o.Metadata.Name)
		}
		if _, err := s.kubectl(ctx, "--namespace", s.service.namespace, "delete", o.Kind, o.Metadata.Name, "--wait=false"); err != nil {
			return err
		}
	}
	return nil
}
