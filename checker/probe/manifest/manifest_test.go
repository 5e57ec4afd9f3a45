package manifest_test

import (
	"math"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"pitstop/checker/probe/manifest"
)

func folder(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, text := range files {
		m["deploy/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

func one(t *testing.T, files map[string]string) *manifest.Set {
	t.Helper()
	sets, problems := manifest.Load(folder(files), "deploy")
	require.Empty(t, problems)
	require.Len(t, sets, 1)
	return sets[0]
}

func messages(ps []manifest.Problem) string {
	var all []string
	for _, p := range ps {
		all = append(all, p.String())
	}
	return strings.Join(all, "\n")
}

const service = "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n  ports:\n    - port: 80\n"

func TestLoad_ReadsWhatKubectlReads(t *testing.T) {
	s := one(t, map[string]string{
		"a.yaml":      "\ufeff# a comment\n---\n" + service + "---\n\n--- # another\n" + strings.ReplaceAll(service, "name: a", "name: b"),
		"deep/c.json": `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Service","metadata":{"name":"c"}}]}`,
		"deep/d.yml":  strings.ReplaceAll(strings.ReplaceAll(service, "name: a", "name: d"), "\n", "\r\n"),
		"e.yaml":      "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: e}\nspec: {anything: goes}\n",
		"README.md":   "not: a manifest",
	})
	var names []string
	for _, o := range s.Objects {
		names = append(names, o.String())
	}
	require.Equal(t, []string{
		"Service/a (deploy/a.yaml:3)", "Service/b (deploy/a.yaml:13)", "Widget/e (deploy/e.yaml:1)",
		"Service/c (deploy/deep/c.json:1)", "Service/d (deploy/deep/d.yml:1)",
	}, names)
	require.Len(t, manifest.Of[corev1.Service](s), 4)
	require.Nil(t, s.Objects[2].Typed)
}

func TestLoad_IsStrict(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown field", "# x\n" + service + "  selektor: {a: b}\n", `deploy/x.yaml:9: Service/a: unknown field "spec.selektor"`},
		{"unknown field in a list", service + "      prot: 9\n", `deploy/x.yaml:8: Service/a: unknown field "spec.ports[0].prot"`},
		{"other case", strings.ReplaceAll(service, "spec:", "Spec:"), `deploy/x.yaml:5: Service/a: unknown field "Spec"`},
		{"key twice", service + "      port: 81\n", `deploy/x.yaml:8: key "port" already set in map`},
		{"key twice, second document", service + "---\n" + service + "      port: 81\n", `deploy/x.yaml:16: key "port" already set in map`},
		{"wrong type", service + "      name: on\n", "Service/a: json: cannot unmarshal bool"},
		{"no YAML", "a: [b\n", "deploy/x.yaml:"},
		{"no object", "a: b\n", "apiVersion or kind is missing"},
		{"gone", "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: a}\n", "no kind Deployment in extensions/v1beta1"},
		{"no name", "apiVersion: v1\nkind: Service\n", "without metadata.name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, problems := manifest.Load(folder(map[string]string{"x.yaml": c.text}), "deploy")
			require.Contains(t, messages(problems), c.want)
		})
	}
}

func TestLoad_KeepsAnObjectWithAProblem(t *testing.T) {
	sets, problems := manifest.Load(folder(map[string]string{"x.yaml": service + "      port: 81\n      prot: 9\n"}), "deploy")
	require.Len(t, problems, 2)
	require.Len(t, manifest.Of[corev1.Service](sets[0]), 1)
}

func TestLoad_Kustomize(t *testing.T) {
	base := map[string]string{
		"base/kustomization.yaml":   "resources: [s.yaml]\r\n",
		"base/s.yaml":               service,
		"base/forgotten.yaml":       service + "  nonsense: 1\n",
		"prod/kustomization.yml":    "\ufeffresources: [../base]\nnamePrefix: prod-\n",
		"staging/Kustomization":     "resources: [../base]\nnamespace: staging\ncomponents: [../part]\n",
		"part/kustomization.yaml":   "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [t.yaml]\n",
		"part/t.yaml":               strings.ReplaceAll(service, "name: a", "name: t"),
		"unrelated/values-not.yaml": "a: b\n",
	}
	sets, problems := manifest.Load(folder(base), "deploy")
	require.Empty(t, problems)
	require.Len(t, sets, 2)
	require.Equal(t, "deploy/prod", sets[0].Root)
	require.Equal(t, "Service/prod-a (deploy/prod/kustomization.yml)", sets[0].Objects[0].String())
	require.Len(t, sets[1].Objects, 2)
	require.Equal(t, "staging", sets[1].Objects[0].Namespace())

	base["kustomization.yaml"] = "resources: [base]\n"
	require.Len(t, one(t, base).Objects, 1)
}

func TestLoad_FetchesNothing(t *testing.T) {
	for _, text := range []string{
		"resources: [https://example.com/a.yaml]\n",
		"resources: ['github.com/example/a//deploy?ref=v1']\n",
		"configMapGenerator: [{name: a, files: ['a=https://example.com/a']}]\n",
		"patches: [{path: https://example.com/a.yaml}]\n",
	} {
		_, problems := manifest.Load(folder(map[string]string{"kustomization.yaml": text}), "deploy")
		require.Contains(t, messages(problems), "nothing is fetched from elsewhere")
	}
}

func TestParseMemoryLimit_AsTheRuntime(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "12B": 12, "1KiB": 1 << 10, "160MiB": 160 << 20, "2GiB": 2 << 30, "1TiB": 1 << 40, "off": math.MaxInt64,
		"": -1, "160Mi": -1, "160MB": -1, "1e3": -1, "-1": -1, "1.5GiB": -1, "\t1": -1, "MiB": -1, "99999999999999999999": -1, "9999999999TiB": -1, "Off": -1,
	} {
		got, ok := manifest.ParseMemoryLimit(text)
		require.Equal(t, want >= 0, ok, text)
		if ok {
			require.Equal(t, want, got, text)
		}
	}
}

func TestParseImage(t *testing.T) {
	for ref, want := range map[string]manifest.Image{
		"a":              {"a", "", ""},
		"a:v1":           {"a", "v1", ""},
		"h:5000/b/a":     {"h:5000/b/a", "", ""},
		"h:5000/b/a:v1":  {"h:5000/b/a", "v1", ""},
		"a:v1@sha256:00": {"a", "v1", "sha256:00"},
		"h:1/a@sha256:0": {"h:1/a", "", "sha256:0"},
	} {
		require.Equal(t, want, manifest.ParseImage(ref), ref)
	}
}

func TestRollout_RoundsAsKubernetes(t *testing.T) {
	for _, c := range []struct {
		unavailable, surge string
		n                  int32
		away, extra        int
	}{
		{"", "", 3, 0, 1}, {"", "", 4, 1, 1}, {"0", "1", 4, 0, 1}, {"0%", "10%", 4, 0, 1}, {"10%", "0", 4, 1, 0}, {"2", "25%", 9, 2, 3},
	} {
		d := &appsv1.Deployment{}
		d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{}
		if c.unavailable != "" {
			u, s := intstr.Parse(c.unavailable), intstr.Parse(c.surge)
			d.Spec.Strategy.RollingUpdate.MaxUnavailable, d.Spec.Strategy.RollingUpdate.MaxSurge = &u, &s
		}
		away, extra, ok := manifest.Rollout(d, c.n)
		require.True(t, ok)
		require.Equal(t, []int{c.away, c.extra}, []int{away, extra}, "%+v", c)
	}
}

func TestDisruptions_RoundUp(t *testing.T) {
	v := func(s string) *intstr.IntOrString {
		if s == "" {
			return nil
		}
		i := intstr.Parse(s)
		return &i
	}
	for _, c := range []struct {
		least, most string
		n           int32
		want        int
		ok          bool
	}{
		{"80%", "", 4, 0, true}, {"75%", "", 4, 1, true}, {"", "10%", 3, 1, true}, {"", "0", 3, 0, true},
		{"5", "", 3, 0, true}, {"", "100%", 3, 3, true}, {"", "", 3, 0, false}, {"1", "1", 3, 0, false}, {"many", "", 3, 0, false},
	} {
		b := &policyv1.PodDisruptionBudget{Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: v(c.least), MaxUnavailable: v(c.most)}}
		got, ok := manifest.Disruptions(b, c.n)
		require.Equal(t, c.ok, ok, "%+v", c)
		require.Equal(t, c.want, got, "%+v", c)
	}
}

const pod = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers:
        - name: app
          image: app:v1
          ports: [{name: http, containerPort: 8080}]
          envFrom: [{configMapRef: {name: c}, prefix: P_}]
          env:
            - {name: MI, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
            - {name: WHOLE, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
            - {name: CPUS, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
            - {name: ROUND, value: "$(MI)000000 $$(MI) $(NONE) $(P_a) $"}
            - {name: PASSWORD, valueFrom: {secretKeyRef: {name: s, key: k}}}
            - {name: URL, value: "x://u:$(PASSWORD)@h"}
            - {name: TWICE, value: a}
            - {name: TWICE, value: b}
            - {name: GONE, valueFrom: {configMapKeyRef: {name: c, key: z}}}
          resources: {limits: {memory: 134217729, cpu: 1500m}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {a: one}
`

func TestEnv_IsWhatTheContainerFinds(t *testing.T) {
	s := one(t, map[string]string{"p.yaml": pod})
	d := s.Deployments("app")[0]
	spec := &d.Value.Spec.Template.Spec
	env := s.Env(d.Namespace(), spec, manifest.Main(spec, "app"))
	for name, want := range map[string]string{
		"P_a": "one", "MI": "129", "WHOLE": "134217729", "CPUS": "2", "ROUND": "129000000 $(MI) $(NONE) one $", "TWICE": "b",
	} {
		require.Equal(t, want, env[name].Text, name)
		require.True(t, env[name].Known, name)
	}
	require.True(t, env["PASSWORD"].Secret)
	require.False(t, env["URL"].Known)
	require.False(t, env["GONE"].Known)
}

func TestRestricted_WhereASettingCounts(t *testing.T) {
	yes, no, root := true, false, int64(0)
	container := corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}
	whole := corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
	build := func(change func(*corev1.PodSpec, *corev1.SecurityContext)) *corev1.PodTemplateSpec {
		p, c := whole, container
		spec := corev1.PodSpec{SecurityContext: &p, Containers: []corev1.Container{{Name: "a", SecurityContext: &c}}}
		change(&spec, &c)
		return &corev1.PodTemplateSpec{Spec: spec}
	}
	require.Empty(t, manifest.Restricted(build(func(*corev1.PodSpec, *corev1.SecurityContext) {})))
	require.Empty(t, manifest.Restricted(build(func(p *corev1.PodSpec, c *corev1.SecurityContext) {
		c.RunAsNonRoot, c.SeccompProfile, p.SecurityContext = &yes, whole.SeccompProfile, nil
	})))
	require.Len(t, manifest.Restricted(&corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}}}}), 4)
	for name, change := range map[string]func(*corev1.PodSpec, *corev1.SecurityContext){
		"container overrides": func(_ *corev1.PodSpec, c *corev1.SecurityContext) { c.RunAsNonRoot = &no },
		"root":                func(_ *corev1.PodSpec, c *corev1.SecurityContext) { c.RunAsUser = &root },
		"privileged":          func(_ *corev1.PodSpec, c *corev1.SecurityContext) { c.Privileged = &yes },
		"host network":        func(p *corev1.PodSpec, _ *corev1.SecurityContext) { p.HostNetwork = true },
		"host path": func(p *corev1.PodSpec, _ *corev1.SecurityContext) {
			p.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
		},
		"added capability": func(_ *corev1.PodSpec, c *corev1.SecurityContext) {
			c.Capabilities = &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"SYS_PTRACE"}}
		},
		"init container": func(p *corev1.PodSpec, c *corev1.SecurityContext) {
			open := *c
			open.AllowPrivilegeEscalation = nil
			p.InitContainers = []corev1.Container{{Name: "b", SecurityContext: &open}}
		},
		"probe of another host": func(p *corev1.PodSpec, _ *corev1.SecurityContext) {
			p.Containers[0].LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Host: "10.0.0.1"}}}
		},
	} {
		require.Len(t, manifest.Restricted(build(change)), 1, name)
	}
}

func TestRules_AsANetworkPolicyMeans(t *testing.T) {
	s := one(t, map[string]string{"p.yaml": pod, "n.yaml": `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec:
  podSelector: {}
  ingress: [{ports: [{port: http}]}]
  egress:
    - to: [{podSelector: {matchLabels: {app: db}}}]
      ports: [{port: 5000, endPort: 6000}]
    - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]
      ports: [{port: 53, protocol: UDP}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: other, namespace: elsewhere}
spec: {podSelector: {}, ingress: [{}]}
`})
	d := s.Deployments("app")[0]
	us := manifest.Pod{Namespace: "default", Labels: d.Value.Spec.Template.Labels, Spec: &d.Value.Spec.Template.Spec}
	in, closed := s.Rules(us, networkingv1.PolicyTypeIngress)
	require.True(t, closed)
	require.Len(t, in, 1)
	require.True(t, in[0].Everyone())
	require.True(t, in[0].OpensPort(us.Spec, corev1.ProtocolTCP, 8080))
	require.False(t, in[0].OpensPort(us.Spec, corev1.ProtocolTCP, 6060))

	out, closed := s.Rules(us, networkingv1.PolicyTypeEgress)
	require.True(t, closed)
	require.True(t, out[0].OpensPort(nil, corev1.ProtocolTCP, 5432))
	require.False(t, out[0].Everyone())
	require.True(t, out[0].Reaches(manifest.Pod{Namespace: "default", Labels: map[string]string{"app": "db"}}))
	require.False(t, out[0].Reaches(manifest.Pod{Namespace: "data", Labels: map[string]string{"app": "db"}}))
	require.True(t, out[1].Reaches(manifest.Pod{Namespace: "kube-system"}))
	require.False(t, out[1].OpensPort(nil, corev1.ProtocolTCP, 53))
}
