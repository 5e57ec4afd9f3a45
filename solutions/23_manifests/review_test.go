//go:build review

package manifests_test

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"pitstop/checker/probe"
	"pitstop/checker/probe/manifest"
	manifests "pitstop/lessons/23_manifests"
)

// reasons are the annotations in which a choice may be explained.
func (d deployment) reason(key string) bool {
	return strings.TrimSpace(d.Meta.Annotations[key]) != "" ||
		strings.TrimSpace(d.Value.Spec.Template.Annotations[key]) != ""
}

// side is the pod as a NetworkPolicy sees it.
func (d deployment) side() manifest.Pod {
	return manifest.Pod{Namespace: d.Namespace(), Labels: d.Value.Spec.Template.Labels, Spec: d.pod}
}

func TestReview_SetIsWhatAnAPIServerTakes(t *testing.T) {
	sets, _ := load()
	for _, s := range sets {
		again := s.Duplicates()
		if !probe.Equal(t, "objects given twice", len(again), 0, "") {
			for _, o := range again {
				probe.Errorf(t, "manifest.duplicate", "%s stands a second time in %s: the one that is applied last wins, and nobody reads which that is.", o, s.Root)
			}
		}
	}
	for _, d := range deployments(t) {
		spec := d.Value.Spec
		if spec.Selector == nil || len(spec.Selector.MatchLabels)+len(spec.Selector.MatchExpressions) == 0 {
			probe.Errorf(t, "manifest.selector", "%s has no selector; the API server refuses it.", d)
		} else if !manifest.Selects(spec.Selector, spec.Template.Labels) {
			probe.Errorf(t, "manifest.selector", "%s: the selector %v does not take the labels of its own pods, %v; the API server refuses it.", d, spec.Selector.MatchLabels, spec.Template.Labels)
		}
		if p := d.pod.RestartPolicy; p != "" && p != corev1.RestartPolicyAlways {
			probe.Errorf(t, "manifest.invalid", "%s: restartPolicy is %s; a Deployment's is Always.", d, p)
		}
		if st := spec.Strategy; st.Type == "Recreate" && st.RollingUpdate != nil {
			probe.Errorf(t, "manifest.invalid", "%s: the strategy is Recreate and has rollingUpdate; the API server refuses both together.", d)
		}
		if sleep, grace := manifest.PreStopSleep(d.main), manifest.Grace(d.pod); sleep > grace {
			probe.Errorf(t, "manifest.invalid", "%s: preStop sleeps %d s of a grace period of %d s; the API server refuses that.", d, sleep, grace)
		}
		volumes, names := map[string]bool{}, map[string]bool{}
		for _, v := range d.pod.Volumes {
			volumes[v.Name] = true
		}
		for _, c := range slices.Concat(d.pod.InitContainers, d.pod.Containers) {
			if c.Name == "" || c.Image == "" || names[c.Name] {
				probe.Errorf(t, "manifest.invalid", "%s: container %q (image %q) has no name or image, or its name is taken.", d, c.Name, c.Image)
			}
			names[c.Name] = true
			for _, m := range c.VolumeMounts {
				if !volumes[m.Name] {
					probe.Errorf(t, "manifest.invalid", "%s: container %s mounts the volume %q, which the pod does not have.", d, c.Name, m.Name)
				}
			}
			for _, e := range c.Env {
				if e.Value != "" && e.ValueFrom != nil {
					probe.Errorf(t, "manifest.invalid", "%s: variable %s has both value and valueFrom; the API server refuses it.", d, e.Name)
				}
				if problem := source(e.ValueFrom); problem != "" {
					probe.Errorf(t, "manifest.invalid", "%s: valueFrom of variable %s %s; the API server refuses it.", d, e.Name, problem)
				}
			}
			for _, p := range c.Ports {
				if !valid(p.ContainerPort, p.Protocol) {
					probe.Errorf(t, "manifest.invalid", "%s: container %s has port %d/%s, and there is no such port; the API server refuses it.", d, c.Name, p.ContainerPort, p.Protocol)
				}
			}
			for kind, p := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
				if p != nil && min(p.InitialDelaySeconds, p.PeriodSeconds, p.TimeoutSeconds, p.FailureThreshold, p.SuccessThreshold) < 0 {
					probe.Errorf(t, "manifest.invalid", "%s: the %s probe of container %s counts below 0; the API server refuses it.", d, kind, c.Name)
				}
			}
		}
		if u := spec.Strategy.RollingUpdate; u != nil {
			for name, n := range map[string]*intstr.IntOrString{"maxUnavailable": u.MaxUnavailable, "maxSurge": u.MaxSurge} {
				if n != nil && (n.Type == intstr.Int && n.IntVal < 0 || strings.HasPrefix(n.StrVal, "-")) {
					probe.Errorf(t, "manifest.invalid", "%s: %s is %s; the API server refuses it.", d, name, n)
				}
			}
		}
		for i, c := range d.pod.TopologySpreadConstraints {
			if c.MaxSkew < 1 || c.TopologyKey == "" || c.WhenUnsatisfiable != corev1.DoNotSchedule && c.WhenUnsatisfiable != corev1.ScheduleAnyway {
				probe.Errorf(t, "manifest.invalid", "%s: topologySpreadConstraints[%d] needs a maxSkew of 1 at least, a topologyKey, and a whenUnsatisfiable that Kubernetes knows; the API server refuses it.", d, i)
			}
		}
	}
	for _, s := range sets {
		for _, svc := range manifest.Of[corev1.Service](s) {
			for _, p := range svc.Value.Spec.Ports {
				target := p.TargetPort.Type == intstr.String || p.TargetPort.IntVal == 0 || valid(p.TargetPort.IntVal, "")
				if !valid(p.Port, p.Protocol) || !target {
					probe.Errorf(t, "manifest.invalid", "%s: port %d/%s to %s: there is no such port; the API server refuses it.", svc, p.Port, p.Protocol, &p.TargetPort)
				}
			}
		}
		for _, np := range manifest.Of[networkingv1.NetworkPolicy](s) {
			var ports []networkingv1.NetworkPolicyPort
			for _, r := range np.Value.Spec.Ingress {
				ports = append(ports, r.Ports...)
			}
			for _, r := range np.Value.Spec.Egress {
				ports = append(ports, r.Ports...)
			}
			for _, p := range ports {
				port, protocol := int32(1), corev1.ProtocolTCP
				if p.Port != nil && p.Port.Type == intstr.Int {
					port = p.Port.IntVal
				}
				if p.Protocol != nil {
					protocol = *p.Protocol
				}
				if protocol == "" || !valid(port, protocol) {
					probe.Errorf(t, "manifest.invalid", "%s: there is no port %d/%s; the API server refuses it.", np, port, protocol)
				}
			}
			for _, pt := range np.Value.Spec.PolicyTypes {
				if pt != networkingv1.PolicyTypeIngress && pt != networkingv1.PolicyTypeEgress {
					probe.Errorf(t, "manifest.invalid", "%s: the policy type %q is neither Ingress nor Egress; the API server refuses it.", np, pt)
				}
			}
		}
	}
}

// valid reports whether an API server knows such a port.
func valid(port int32, protocol corev1.Protocol) bool {
	return len(validation.IsValidPortNum(int(port))) == 0 &&
		slices.Contains([]corev1.Protocol{"", corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}, protocol)
}

// source says what an API server does not like about where a variable comes from.
func source(from *corev1.EnvVarSource) string {
	if from == nil {
		return ""
	}
	given, name, key := 0, "-", "-"
	if r := from.SecretKeyRef; r != nil {
		given, name, key = given+1, r.Name, r.Key
	}
	if r := from.ConfigMapKeyRef; r != nil {
		given, name, key = given+1, r.Name, r.Key
	}
	if r := from.FieldRef; r != nil {
		given, key = given+1, r.FieldPath
	}
	if r := from.ResourceFieldRef; r != nil {
		given, key = given+1, r.Resource
	}
	if r := from.FileKeyRef; r != nil {
		given, key = given+1, r.Key
	}
	switch {
	case given != 1:
		return fmt.Sprintf("names %d sources, and it takes one", given)
	case name == "" || key == "":
		return "lacks the name or the key of what it reads"
	}
	return ""
}

// A pod whose account is not there is never made.
func TestReview_AccountIsThere(t *testing.T) {
	for _, d := range deployments(t) {
		name := cmp.Or(d.pod.ServiceAccountName, d.pod.DeprecatedServiceAccount, "default")
		there := name == "default" // every namespace has that one
		for _, a := range manifest.Of[corev1.ServiceAccount](d.set) {
			there = there || a.Meta.Name == name && a.Namespace() == d.Namespace()
		}
		if !probe.Equal(t, "accounts of that name in the namespace", count(there), 1, "") {
			probe.Errorf(t, "manifest.account", "%s runs as the ServiceAccount %q, and no manifest makes that one in namespace %q: not a single pod comes up.", d, name, d.Namespace())
		}
	}
}

func TestReview_NamespaceEnforcesRestricted(t *testing.T) {
	const label = "pod-security.kubernetes.io/enforce"
	for _, d := range deployments(t) {
		levels := map[string]string{}
		for _, n := range manifest.Of[corev1.Namespace](d.set) {
			levels[n.Meta.Name] = n.Meta.Labels[label]
		}
		level, ours := levels[d.Namespace()]
		switch {
		case !ours:
			probe.Errorf(t, "manifest.namespace", "%s goes to namespace %q, and no manifest makes that one and says how strict it is.", d, d.Namespace())
		case level != "restricted":
			probe.Errorf(t, "manifest.namespace", "Namespace %q has %s %q: it would let any pod in. restricted is the level that dispatchd needs.", d.Namespace(), label, level)
		}
	}
}

func TestReview_SecurityIsRestricted(t *testing.T) {
	for _, d := range deployments(t) {
		missing := manifest.Restricted(&d.Value.Spec.Template)
		for _, c := range manifest.Running(d.pod) {
			if c.Name == d.main.Name && (c.SecurityContext == nil || c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem) {
				missing = append(missing, fmt.Sprintf("container %s may write to its root file system, and has nothing to write", c.Name))
			}
		}
		if !probe.AtMost(t, "security settings that are missing", len(missing), 0, "") {
			for _, m := range missing {
				probe.Errorf(t, "manifest.security", "%s: %s.", d, m)
			}
		}
	}
}

func TestReview_TokenStaysOut(t *testing.T) {
	for _, d := range deployments(t) {
		mounted := true
		name := d.pod.ServiceAccountName
		if name == "" {
			name = d.pod.DeprecatedServiceAccount
		}
		for _, a := range manifest.Of[corev1.ServiceAccount](d.set) {
			if a.Namespace() == d.Namespace() && a.Meta.Name == name && a.Value.AutomountServiceAccountToken != nil {
				mounted = *a.Value.AutomountServiceAccountToken
			}
		}
		if b := d.pod.AutomountServiceAccountToken; b != nil {
			mounted = *b // the pod's word goes before the account's
		}
		for _, v := range d.pod.Volumes {
			mounted = mounted || v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(p corev1.VolumeProjection) bool { return p.ServiceAccountToken != nil })
		}
		if !probe.Equal(t, "tokens of the API server in the pod", count(mounted), 0, "") {
			probe.Errorf(t, "manifest.token", "%s: a token for the API server is mounted, and dispatchd never talks to it. automountServiceAccountToken: false, of the pod or of its account %q, keeps it out.", d, name)
		}
	}
}

func TestReview_Hook(t *testing.T) {
	for _, d := range deployments(t) {
		var hook *corev1.LifecycleHandler
		if d.main.Lifecycle != nil {
			hook = d.main.Lifecycle.PreStop
			if d.main.Lifecycle.PostStart != nil && d.main.Lifecycle.PostStart.Exec != nil {
				probe.Errorf(t, "manifest.prestop", "%s: postStart runs %v, and the image holds no program but dispatchd.", d, d.main.Lifecycle.PostStart.Exec.Command)
			}
		}
		if hook != nil && hook.Sleep == nil {
			what := "does nothing"
			switch {
			case hook.Exec != nil:
				what = fmt.Sprintf("runs %v, which the image does not hold: it fails, and SIGTERM comes at once", hook.Exec.Command)
			case hook.HTTPGet != nil:
				what = fmt.Sprintf("asks %s, which waits for nothing: SIGTERM comes with the answer", hook.HTTPGet.Path)
			}
			probe.Errorf(t, "manifest.prestop", "%s: the preStop hook %s. The action sleep needs no program.", d, what)
			continue
		}
		sleep := manifest.PreStopSleep(d.main)
		served := sleep + seconds(manifests.DrainDelay)
		if !probe.AtLeast(t, "served after the pod's deletion", served, seconds(manifests.EndpointRemoval), "s") {
			probe.Errorf(t, "manifest.drain", "%s: a deleted pod serves new connections for %d s (preStop) + %d s (drain) = %d s, and is sent some for %d s: the last ones are refused.",
				d, sleep, seconds(manifests.DrainDelay), served, seconds(manifests.EndpointRemoval))
		}
	}
}

func TestReview_MemoryFits(t *testing.T) {
	for _, d := range deployments(t) {
		v := d.set.Env(d.Namespace(), d.pod, d.main)["GOMEMLIMIT"]
		soft, ok := manifest.ParseMemoryLimit(v.Text)
		if v.Known && ok && !probe.AtLeast(t, "GOMEMLIMIT", soft, int64(manifests.HeapNeeded), "B") {
			probe.Errorf(t, "manifest.memory", "%s: GOMEMLIMIT is %q (%s, from %s), and dispatchd needs %s under load: the collector would run all the time.",
				d, v.Text, probe.Bytes(soft), v.Source, probe.Bytes(int64(manifests.HeapNeeded)))
		}
		limit, request := manifest.Memory(d.pod, d.main)
		if limit == 0 {
			continue // the visible test says so
		}
		if request > limit {
			probe.Errorf(t, "manifest.resources", "%s: the memory request %s is above the limit %s; the API server refuses it.", d, probe.Bytes(request), probe.Bytes(limit))
		} else if !probe.Equal(t, "memory request", request, limit, "B") && !d.reason(manifests.WhyMemoryBurst) {
			probe.Errorf(t, "manifest.resources", "%s: the pod is promised %s of memory and may take %s. A full node kills it first; make them equal, or say why in the annotation %s.",
				d, probe.Bytes(request), probe.Bytes(limit), manifests.WhyMemoryBurst)
		}
		for _, c := range manifest.Running(d.pod) {
			if l, _ := manifest.Memory(d.pod, c); l == 0 {
				probe.Errorf(t, "manifest.resources", "%s: container %s has no memory limit, and shares the node with the others.", d, c.Name)
			}
			cpu, asked := manifest.CPU(d.pod, c)
			switch {
			case cpu > 0 && asked > cpu:
				probe.Errorf(t, "manifest.resources", "%s: container %s requests %d m of CPU and is limited to %d m; the API server refuses it.", d, c.Name, asked, cpu)
			case cpu > 0 && !d.reason(manifests.WhyCPULimit):
				probe.Errorf(t, "manifest.cpu", "%s: container %s is stopped each time it has used %d m of CPU, with cores idle beside it, and no annotation %s says why.", d, c.Name, cpu, manifests.WhyCPULimit)
			}
			if asked == 0 {
				probe.Errorf(t, "manifest.resources", "%s: container %s requests no CPU, so on a busy node it gets what is left.", d, c.Name)
			}
		}
	}
}

func TestReview_Probes(t *testing.T) {
	for _, d := range deployments(t) {
		for _, p := range []struct {
			kind, path string
			probe      *corev1.Probe
		}{
			{"liveness", manifests.LivePath, d.main.LivenessProbe},
			{"readiness", manifests.ReadyPath, d.main.ReadinessProbe},
			{"startup", manifests.LivePath, d.main.StartupProbe},
		} {
			if p.probe == nil {
				if p.kind != "startup" {
					probe.Errorf(t, "manifest.probe", "%s: container %s has no %s probe.", d, d.main.Name, p.kind)
				}
				continue
			}
			checkProbe(t, d, p.kind, p.path, p.probe)
		}
		if p := d.main.ReadinessProbe; p != nil {
			r := manifest.Defaulted(p)
			if !probe.AtMost(t, "until a pod that is not ready is noticed", r.Window(), seconds(manifests.NoticeUnready), "s") {
				probe.Errorf(t, "manifest.readiness", "%s: a pod that answers 503 is sent orders for up to %d s (a probe every %d s, %d failures), and %d s were promised.",
					d, r.Window(), r.Period, r.Failures, seconds(manifests.NoticeUnready))
			}
			if !probe.AtLeast(t, "readiness probe waits", r.Timeout, seconds(manifests.ReadyTimeout)+1, "s") {
				probe.Errorf(t, "manifest.readiness", "%s: the readiness probe waits %d s and %s answers after up to %d s, so a slow yes counts as a no.", d, r.Timeout, manifests.ReadyPath, seconds(manifests.ReadyTimeout))
			}
		}
		checkStart(t, d)
	}
}

func checkProbe(t *testing.T, d deployment, kind, path string, p *corev1.Probe) {
	h := p.HTTPGet
	if h == nil || p.Exec != nil || p.TCPSocket != nil || p.GRPC != nil {
		probe.Errorf(t, "manifest.probe", "%s: the %s probe does not ask %s over HTTP alone. An open port says little, and the image has no program to run.", d, kind, path)
		return
	}
	if asks := manifest.HTTPPath(h); asks != path {
		code := "manifest.probe"
		switch {
		case kind == "liveness" && asks == manifests.ReadyPath:
			code = "manifest.liveness"
		case kind == "startup":
			code = "manifest.startup"
		}
		if !(kind == "readiness" && asks == manifests.ReadyPath) {
			probe.Errorf(t, code, "%s: the %s probe asks %s, and %s is the path for it. With another one a database that is away restarts pods, or a service that cannot work gets orders.", d, kind, asks, path)
		}
	}
	if h.Scheme != "" && h.Scheme != corev1.URISchemeHTTP {
		probe.Errorf(t, "manifest.probe", "%s: the %s probe asks over %s, and dispatchd speaks plain HTTP.", d, kind, h.Scheme)
	}
	port, ok := manifest.Port(d.main, h.Port)
	switch {
	case !ok:
		probe.Errorf(t, "manifest.probe", "%s: the %s probe asks the port %q, and container %s names only %q.", d, kind, h.Port.StrVal, d.main.Name, manifest.Names(d.main))
	case port != manifests.HTTPPort:
		probe.Errorf(t, "manifest.probe", "%s: the %s probe asks port %d, and %s is answered on %d. Port %d is bound to 127.0.0.1, where no kubelet comes.", d, kind, port, path, manifests.HTTPPort, manifests.AdminPort)
	}
	v := manifest.Defaulted(p)
	if !probe.AtMost(t, kind+" probe waits", v.Timeout, v.Period, "s") {
		probe.Errorf(t, "manifest.probe", "%s: the %s probe waits %d s and comes every %d s: one is still out when the next is due.", d, kind, v.Timeout, v.Period)
	}
	if kind != "readiness" && p.SuccessThreshold > 1 {
		probe.Errorf(t, "manifest.probe", "%s: the %s probe has successThreshold %d; the API server takes only 1.", d, kind, p.SuccessThreshold)
	}
	if kind == "liveness" && !probe.AtLeast(t, "until a stuck process is restarted", v.Window(), seconds(manifests.StuckTime), "s") {
		probe.Errorf(t, "manifest.probe", "%s: the kubelet restarts the process after %d s (a probe every %d s, %d failures), and a process that is well has paused for %d s.", d, v.Window(), v.Period, v.Failures, seconds(manifests.StuckTime))
	}
}

// checkStart: the slowest start must end before the kubelet gives up.
func checkStart(t *testing.T, d deployment) {
	if d.main.LivenessProbe == nil && d.main.StartupProbe == nil {
		return
	}
	kind, p := "startup", d.main.StartupProbe
	if p == nil {
		kind, p = "liveness", d.main.LivenessProbe
	}
	v := manifest.Defaulted(p)
	has := v.Delay + v.Window()
	if !probe.AtLeast(t, "time to start in", has, seconds(manifests.StartTime), "s") {
		probe.Errorf(t, "manifest.startup", "%s: the %s probe gives up %d s after the start (%d s delay, then every %d s, %d failures), and a start takes up to %d s: that pod never comes up.",
			d, kind, has, v.Delay, v.Period, v.Failures, seconds(manifests.StartTime))
	}
}

func TestReview_ServiceReachesThePods(t *testing.T) {
	for _, d := range deployments(t) {
		reached := map[int32]bool{}
		var selecting, others []string
		for _, s := range manifest.Of[corev1.Service](d.set) {
			if s.Namespace() != d.Namespace() || !manifest.ServiceSelects(s.Value, d.Value.Spec.Template.Labels) {
				others = append(others, fmt.Sprintf("%s in %q selects %v", s, s.Namespace(), s.Value.Spec.Selector))
				continue
			}
			selecting = append(selecting, s.String())
			names := map[string]bool{}
			for _, p := range s.Value.Spec.Ports {
				port, ok := manifest.TargetPort(d.pod, p)
				switch {
				case !ok:
					probe.Errorf(t, "manifest.service", "%s: port %d goes to %q, and the pod's ports are called %q: its connections are refused.", s, p.Port, p.TargetPort.StrVal, manifest.Names(d.main))
				case port == manifests.AdminPort:
					probe.Errorf(t, "manifest.service", "%s: port %d goes to %d, the admin port. pprof and the status page are for kubectl port-forward.", s, p.Port, port)
				case p.Protocol == "" || p.Protocol == corev1.ProtocolTCP:
					reached[port] = true
				}
				if len(s.Value.Spec.Ports) > 1 && (p.Name == "" || names[p.Name]) {
					probe.Errorf(t, "manifest.invalid", "%s: port %d needs a name of its own, because there are several; the API server refuses it.", s, p.Port)
				}
				names[p.Name] = true
			}
			if s.Value.Spec.PublishNotReadyAddresses {
				probe.Errorf(t, "manifest.service", "%s publishes pods that are not ready, so the readiness probe keeps no order away.", s)
			}
		}
		if len(selecting) == 0 {
			probe.Errorf(t, "manifest.service", "No Service selects the pods of %s (labels %v, namespace %q). %s", d, d.Value.Spec.Template.Labels, d.Namespace(), strings.Join(others, "; "))
			continue
		}
		for _, port := range []int32{manifests.HTTPPort, manifests.ScanPort} {
			if !probe.Equal(t, fmt.Sprintf("Services that lead to port %d", port), count(reached[port]), 1, "") {
				probe.Errorf(t, "manifest.service", "%s: no port leads to %d.", strings.Join(selecting, ", "), port)
			}
		}
	}
}

func TestReview_BudgetAllowsADrain(t *testing.T) {
	for _, d := range deployments(t) {
		least, most := d.set.Replicas(d.Found)
		if !probe.AtLeast(t, "pods at least", least, 2, "pods") {
			probe.Errorf(t, "manifest.replicas", "%s may come down to %d pod, and then a drained node is an outage.", d, least)
			continue
		}
		var budgets []manifest.Found[policyv1.PodDisruptionBudget]
		for _, b := range manifest.Of[policyv1.PodDisruptionBudget](d.set) {
			if b.Namespace() == d.Namespace() && manifest.Selects(b.Value.Spec.Selector, d.Value.Spec.Template.Labels) {
				budgets = append(budgets, b)
			}
		}
		if !probe.Equal(t, "PodDisruptionBudgets of the pods", len(budgets), 1, "") {
			probe.Errorf(t, "manifest.pdb", "%d PodDisruptionBudgets select the pods of %s (labels %v, namespace %q). With none a drain may take all pods at once; with two every eviction is refused.",
				len(budgets), d, d.Value.Spec.Template.Labels, d.Namespace())
			continue
		}
		b := budgets[0]
		for _, n := range slices.Compact([]int32{least, most}) {
			allowed, ok := manifest.Disruptions(b.Value, n)
			if !ok {
				probe.Errorf(t, "manifest.pdb", "%s: it needs exactly one of minAvailable and maxUnavailable, as a number or a percentage.", b)
				break
			}
			fine := probe.AtLeast(t, "pods that a drain may take", allowed, 1, "pods")
			fine = probe.AtMost(t, "pods that a drain may take", allowed, n-1, "pods") && fine
			if !fine {
				probe.Errorf(t, "manifest.pdb", "%s: of %d pods %d may go at once (Kubernetes rounds both percentages up). A drain needs 1 at least, and the depots need 1 that stays.", b, n, allowed)
				break
			}
		}
	}
}

func TestReview_Autoscaler(t *testing.T) {
	for _, s := range first(load()) {
		for _, h := range manifest.Of[autoscalingv2.HorizontalPodAutoscaler](s) {
			ref := h.Value.Spec.ScaleTargetRef
			var d *deployment
			for _, one := range deployments(t) {
				if one.set == s && ref.Kind == "Deployment" && ref.APIVersion == "apps/v1" && one.Meta.Name == ref.Name && one.Namespace() == h.Namespace() {
					d = &one
				}
			}
			if d == nil {
				probe.Errorf(t, "manifest.hpa", "%s scales %s %s %q, which is not among the manifests.", h, ref.APIVersion, ref.Kind, ref.Name)
				continue
			}
			least, most := s.Replicas(d.Found)
			if !probe.AtMost(t, "pods at least, with the autoscaler", least, most, "pods") {
				probe.Errorf(t, "manifest.hpa", "%s: minReplicas %d is above maxReplicas %d; the API server refuses it.", h, least, most)
			}
			if r := d.Value.Spec.Replicas; r != nil && (*r < least || *r > most) {
				probe.Errorf(t, "manifest.hpa", "%s keeps %d to %d pods, and %s asks for %d: each apply starts or ends pods until the autoscaler takes it back.", h, least, most, d, *r)
			}
		}
	}
}

func TestReview_Network(t *testing.T) {
	for _, d := range deployments(t) {
		us := d.side()
		in, closed := d.set.Rules(us, networkingv1.PolicyTypeIngress)
		if !probe.Equal(t, "pods behind a NetworkPolicy", count(closed), 1, "") {
			probe.Errorf(t, "manifest.network", "No NetworkPolicy closes the pods of %s (labels %v, namespace %q) to connections: every port is open to the cluster.", d, us.Labels, us.Namespace)
			continue
		}
		for _, port := range []int32{manifests.HTTPPort, manifests.ScanPort} {
			if !slices.ContainsFunc(in, func(r manifest.Rule) bool { return r.OpensPort(d.pod, corev1.ProtocolTCP, port) }) {
				probe.Errorf(t, "manifest.network", "%s: no ingress rule opens port %d, so no customer gets through.", d, port)
			}
		}
		for _, r := range in {
			for _, other := range []int32{manifests.AdminPort, 9} { // 9 stands for every port that nobody mentions
				if r.Everyone() && r.OpensPort(d.pod, corev1.ProtocolTCP, other) {
					what := "the admin port"
					if other == 9 {
						what = "every port"
					}
					probe.Errorf(t, "manifest.network", "%s opens %s to everyone. Ports %d and %d are the public ones.", r.Policy, what, manifests.HTTPPort, manifests.ScanPort)
					break
				}
			}
		}
		out, closed := d.set.Rules(us, networkingv1.PolicyTypeEgress)
		if !closed {
			continue
		}
		for _, to := range []struct {
			what     string
			pod      manifest.Pod
			protocol corev1.Protocol
			port     int32
		}{
			{"DNS", manifest.Pod{Namespace: "kube-system", Labels: map[string]string{"k8s-app": "kube-dns"}}, corev1.ProtocolUDP, 53},
			{"the database", manifest.Pod{Namespace: manifests.DatabaseNamespace, Labels: map[string]string{"app": manifests.DatabaseApp}}, corev1.ProtocolTCP, manifests.DatabasePort},
		} {
			if !probe.Equal(t, "egress to "+to.what, count(slices.ContainsFunc(out, func(r manifest.Rule) bool {
				return r.OpensPort(nil, to.protocol, to.port) && r.Reaches(to.pod)
			})), 1, "") {
				probe.Errorf(t, "manifest.network", "%s: no egress rule lets the pods reach %s: port %d/%s of pods %v in namespace %s. A podSelector without a namespaceSelector means the policy's own namespace.",
					d, to.what, to.port, to.protocol, to.pod.Labels, to.pod.Namespace)
			}
		}
	}
}

var secretName = regexp.MustCompile(`(?i)(password|passwd|secret|token|api_?key|private_?key|credentials?)$`)

// secretText says why a text ought not to be readable in a manifest.
func secretText(name, text string) string {
	for _, word := range strings.Fields(text) {
		if i := strings.Index(word, "://"); i > 0 {
			if u, err := url.Parse(strings.TrimLeft(word[strings.LastIndexAny(word[:i], "='\"")+1:], "-")); err == nil && u.User != nil {
				if p, _ := u.User.Password(); p != "" && !strings.Contains(p, "$(") {
					return "a URL with a password"
				}
			}
		}
	}
	if secretName.MatchString(name) && text != "" && !strings.HasPrefix(text, "/") && !strings.Contains(text, "$(") {
		return "a secret, by its name"
	}
	return ""
}

func TestReview_SecretsStayOut(t *testing.T) {
	for _, d := range deployments(t) {
		for _, c := range slices.Concat(d.pod.InitContainers, d.pod.Containers) {
			for _, e := range c.Env {
				if why := secretText(e.Name, e.Value); why != "" {
					probe.Errorf(t, "manifest.secret", "%s: the value of %s in container %s is %s, for everyone who may read the file or the pod.", d, e.Name, c.Name, why)
				}
			}
			for _, a := range slices.Concat(c.Command, c.Args) {
				name, _, _ := strings.Cut(a, "=")
				if why := secretText("", a); why != "" {
					probe.Errorf(t, "manifest.secret", "%s: the argument %s of container %s is %s.", d, name, c.Name, why)
				}
			}
		}
		v, given := d.set.Env(d.Namespace(), d.pod, d.main)[manifests.DatabaseEnv]
		bulk := slices.ContainsFunc(d.main.EnvFrom, func(f corev1.EnvFromSource) bool { return f.SecretRef != nil })
		if !given && !bulk {
			probe.Errorf(t, "manifest.secret", "%s: container %s gets no %s from anywhere, and does not start without.", d, d.main.Name, manifests.DatabaseEnv)
		} else if given && v.Known && v.Text == "" {
			probe.Errorf(t, "manifest.secret", "%s: %s is empty.", d, manifests.DatabaseEnv)
		}
		for _, e := range d.main.Env {
			if e.Name == manifests.DatabaseEnv && e.ValueFrom != nil && e.ValueFrom.SecretKeyRef == nil {
				probe.Errorf(t, "manifest.secret", "%s: %s comes from somewhere, and not from a Secret.", d, e.Name)
			}
		}
	}
	for _, s := range first(load()) {
		for _, m := range manifest.Of[corev1.ConfigMap](s) {
			for k, text := range m.Value.Data {
				if why := secretText(k, text); why != "" {
					probe.Errorf(t, "manifest.secret", "%s: key %s is %s, and a ConfigMap is read by everyone.", m, k, why)
				}
			}
		}
		for _, m := range manifest.Of[corev1.Secret](s) {
			if n := len(m.Value.Data) + len(m.Value.StringData); n > 0 {
				probe.Errorf(t, "manifest.secret", "%s holds %d values in a file that is committed, and base64 hides nothing.", m, n)
			}
		}
	}
}

func TestReview_NoDebuggingShips(t *testing.T) {
	for _, d := range deployments(t) {
		for i := range d.pod.InitContainers {
			if c := &d.pod.InitContainers[i]; !manifest.Sidecar(c) {
				probe.Errorf(t, "manifest.debug", "%s: init container %s has ended before dispatchd starts, and dispatchd needs nothing prepared. To look into a running pod, use kubectl debug with --target.", d, c.Name)
			}
		}
		if s := d.pod.ShareProcessNamespace; s != nil && *s {
			probe.Errorf(t, "manifest.debug", "%s: the containers share their processes, and with them their environments and files. kubectl debug --target does that for one session.", d)
		}
		env := d.set.Env(d.Namespace(), d.pod, d.main)
		for name, quiet := range map[string][]string{
			"DEBUG_LEVEL":       {"", "info", "warn", "error"},
			"ENABLE_PPROF":      {"", "false", "0", "no", "off"},
			"LOG_HTTP_REQUESTS": {"", "false", "0", "no", "off"},
		} {
			if v, ok := env[name]; ok && v.Known && !slices.Contains(quiet, strings.ToLower(v.Text)) {
				probe.Errorf(t, "manifest.debug", "%s: %s is %q for good, in every pod.", d, name, v.Text)
			}
		}
	}
}

func first[A, B any](a A, _ B) A { return a }
