package manifest

import (
	"maps"
	"math"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Namespace is where the object lives, once applied without -n.
func (o *Object) Namespace() string {
	if o.Meta.Namespace == "" {
		return "default"
	}
	return o.Meta.Namespace
}

// Deployments returns those that run the named program: the Deployment, one of
// its containers or an image is called so, whatever a kustomization put
// before or after the name. Where none is, the only Deployment is it.
func (s *Set) Deployments(name string) []Found[appsv1.Deployment] {
	all := Of[appsv1.Deployment](s)
	ours := slices.DeleteFunc(slices.Clone(all), func(d Found[appsv1.Deployment]) bool {
		if strings.Contains(d.Meta.Name, name) {
			return false
		}
		return !slices.ContainsFunc(d.Value.Spec.Template.Spec.Containers, func(c corev1.Container) bool {
			return c.Name == name || ParseImage(c.Image).Base() == name
		})
	})
	if len(ours) == 0 && len(all) == 1 {
		return all
	}
	return ours
}

// Main returns the container that runs the named program: the one called so,
// else the one whose image is, else the first. It is nil in a pod without
// containers.
func Main(pod *corev1.PodSpec, name string) *corev1.Container {
	for _, is := range []func(*corev1.Container) bool{
		func(c *corev1.Container) bool { return c.Name == name },
		func(c *corev1.Container) bool { return ParseImage(c.Image).Base() == name },
		func(*corev1.Container) bool { return true },
	} {
		for i := range pod.Containers {
			if c := &pod.Containers[i]; is(c) {
				return c
			}
		}
	}
	return nil
}

// Image is an image reference, taken apart.
type Image struct {
	Repository, Tag, Digest string
}

// ParseImage takes a reference apart. The colon of a registry's port is not
// that of a tag. The tag is empty where none is written, which a container
// runtime reads as latest.
func ParseImage(ref string) Image {
	var i Image
	ref, i.Digest, _ = strings.Cut(ref, "@")
	if colon := strings.LastIndexByte(ref, ':'); colon > strings.LastIndexByte(ref, '/') {
		ref, i.Tag = ref[:colon], ref[colon+1:]
	}
	i.Repository = ref
	return i
}

// Base is the last element of the repository.
func (i Image) Base() string { return i.Repository[strings.LastIndexByte(i.Repository, '/')+1:] }

// Port resolves a port of a probe, a hook or a Service against one container:
// a number is itself, declared or not; a name must be that of a declared port.
func Port(c *corev1.Container, p intstr.IntOrString) (int32, bool) {
	if p.Type == intstr.Int {
		return p.IntVal, true
	}
	for _, declared := range c.Ports {
		if declared.Name == p.StrVal {
			return declared.ContainerPort, true
		}
	}
	return 0, false
}

// TargetPort resolves where a Service's port leads to in a pod. The target
// defaults to the port itself; a name is looked for in every container that
// runs beside the others.
func TargetPort(pod *corev1.PodSpec, p corev1.ServicePort) (int32, bool) {
	target := p.TargetPort
	if target == (intstr.IntOrString{}) {
		target = intstr.FromInt32(p.Port)
	}
	for _, c := range Running(pod) {
		if port, ok := Port(c, target); ok {
			return port, true
		}
	}
	return 0, false
}

// Running returns the containers that run as long as the pod does: the
// ordinary ones and the sidecars, which are init containers that restart.
func Running(pod *corev1.PodSpec) []*corev1.Container {
	var all []*corev1.Container
	for i := range pod.Containers {
		all = append(all, &pod.Containers[i])
	}
	for i := range pod.InitContainers {
		if c := &pod.InitContainers[i]; Sidecar(c) {
			all = append(all, c)
		}
	}
	return all
}

// Sidecar reports whether an init container keeps running beside the others.
func Sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// Selects reports whether a label selector takes these labels. A nil selector
// takes none and an empty one takes all; an invalid one takes none.
func Selects(s *metav1.LabelSelector, l map[string]string) bool {
	sel, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && sel.Matches(labels.Set(l))
}

// ServiceSelects reports whether a Service takes these labels. One without a
// selector takes none.
func ServiceSelects(s *corev1.Service, l map[string]string) bool {
	return len(s.Spec.Selector) > 0 && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(l))
}

// Replicas returns the fewest and the most pods that the Deployment is meant
// to have: its replicas, 1 where it says nothing, or the bounds of the
// HorizontalPodAutoscaler that points at it.
func (s *Set) Replicas(d Found[appsv1.Deployment]) (least, most int32) {
	least, most = 1, 1
	if r := d.Value.Spec.Replicas; r != nil {
		least, most = *r, *r
	}
	for _, h := range Of[autoscalingv2.HorizontalPodAutoscaler](s) {
		t := h.Value.Spec.ScaleTargetRef
		if t.Kind == "Deployment" && t.Name == d.Meta.Name && h.Namespace() == d.Namespace() {
			least, most = 1, h.Value.Spec.MaxReplicas
			if m := h.Value.Spec.MinReplicas; m != nil {
				least = *m
			}
		}
	}
	return least, most
}

// Rollout returns how many pods a rolling update of n may take away first and
// add first: 25 % each where nothing is said, surge rounded up, unavailable
// down, and one unavailable where both come out as 0. ok is false where the
// Deployment does not update by rolling, or a value cannot be read.
func Rollout(d *appsv1.Deployment, n int32) (unavailable, surge int, ok bool) {
	st := d.Spec.Strategy
	if st.Type != "" && st.Type != appsv1.RollingUpdateDeploymentStrategyType {
		return 0, 0, false
	}
	u, v := intstr.FromString("25%"), intstr.FromString("25%")
	if r := st.RollingUpdate; r != nil {
		if r.MaxUnavailable != nil {
			u = *r.MaxUnavailable
		}
		if r.MaxSurge != nil {
			v = *r.MaxSurge
		}
	}
	surge, err := intstr.GetScaledValueFromIntOrPercent(&v, int(n), true)
	if err != nil {
		return 0, 0, false
	}
	unavailable, err = intstr.GetScaledValueFromIntOrPercent(&u, int(n), false)
	if err != nil {
		return 0, 0, false
	}
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return unavailable, surge, true
}

// Disruptions returns how many of n healthy pods the budget lets go at once.
// Kubernetes rounds both of its percentages up. ok is false where a value
// cannot be read, or both are given, or neither.
func Disruptions(b *policyv1.PodDisruptionBudget, n int32) (allowed int, ok bool) {
	least, most := b.Spec.MinAvailable, b.Spec.MaxUnavailable
	if (least == nil) == (most == nil) {
		return 0, false
	}
	v := most
	if least != nil {
		v = least
	}
	count, err := intstr.GetScaledValueFromIntOrPercent(v, int(n), true)
	if err != nil || count < 0 {
		return 0, false
	}
	if least != nil {
		count = int(n) - count
	}
	return max(0, min(count, int(n))), true
}

// Probe is a probe with Kubernetes' defaults filled in. All times in seconds.
type Probe struct {
	*corev1.Probe
	Delay, Timeout, Period, Failures int32
}

// Defaulted fills in what the probe leaves out: timeout 1 s, period 10 s,
// three failures.
func Defaulted(p *corev1.Probe) Probe {
	or := func(v, otherwise int32) int32 {
		if v == 0 {
			return otherwise
		}
		return v
	}
	return Probe{p, p.InitialDelaySeconds, or(p.TimeoutSeconds, 1), or(p.PeriodSeconds, 10), or(p.FailureThreshold, 3)}
}

// Window is how long the condition must last until the probe has failed for
// good, at worst: every period up to the threshold.
func (p Probe) Window() int32 { return p.Period * p.Failures }

// HTTPPath is the path that an HTTP handler asks for, without its query, and
// with the slash that Kubernetes puts before it.
func HTTPPath(h *corev1.HTTPGetAction) string {
	p, _, _ := strings.Cut(h.Path, "?")
	return "/" + strings.TrimLeft(p, "/")
}

// Grace returns how many seconds a pod has from its deletion to SIGKILL.
func Grace(pod *corev1.PodSpec) int64 {
	if pod.TerminationGracePeriodSeconds == nil {
		return corev1.DefaultTerminationGracePeriodSeconds
	}
	return *pod.TerminationGracePeriodSeconds
}

// PreStopSleep returns how many seconds the container's native sleep hook
// takes; other hooks count as none.
func PreStopSleep(c *corev1.Container) int64 {
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Sleep == nil {
		return 0
	}
	return c.Lifecycle.PreStop.Sleep.Seconds
}

// Memory returns the container's memory limit and request in bytes, 0 where
// there is none. A pod's own limit stands in for a container's; a request
// that is not given is the limit.
func Memory(pod *corev1.PodSpec, c *corev1.Container) (limit, request int64) {
	return amounts(pod, c, corev1.ResourceMemory, func(l corev1.ResourceList, n corev1.ResourceName) int64 {
		return l.Name(n, "").Value()
	})
}

// CPU is [Memory] for processor time, in thousandths of a core.
func CPU(pod *corev1.PodSpec, c *corev1.Container) (limit, request int64) {
	return amounts(pod, c, corev1.ResourceCPU, func(l corev1.ResourceList, n corev1.ResourceName) int64 {
		return l.Name(n, "").MilliValue()
	})
}

func amounts(pod *corev1.PodSpec, c *corev1.Container, n corev1.ResourceName, of func(corev1.ResourceList, corev1.ResourceName) int64) (limit, request int64) {
	all := []corev1.ResourceRequirements{c.Resources}
	if pod.Resources != nil {
		all = append(all, *pod.Resources)
	}
	for _, r := range all {
		if _, ok := r.Limits[n]; ok && limit == 0 {
			limit = of(r.Limits, n)
		}
		if _, ok := r.Requests[n]; ok && request == 0 {
			request = of(r.Requests, n)
		}
	}
	if request == 0 {
		request = limit
	}
	return limit, request
}

// ParseMemoryLimit reads GOMEMLIMIT as the Go runtime does: a whole number,
// with no unit or with B, KiB, MiB, GiB or TiB. What the runtime would refuse,
// and so end the process at once, is not ok; off is the greatest number.
func ParseMemoryLimit(text string) (bytes int64, ok bool) {
	if text == "off" {
		return math.MaxInt64, true
	}
	number, shift := strings.TrimSuffix(text, "B"), 0
	if number != text {
		for i, unit := range []string{"Ki", "Mi", "Gi", "Ti"} {
			if n, cut := strings.CutSuffix(number, unit); cut {
				number, shift = n, 10*(i+1)
			}
		}
	}
	if number == "" {
		return 0, false
	}
	for _, digit := range number {
		if digit < '0' || digit > '9' || bytes > math.MaxInt64/10-1 {
			return 0, false
		}
		bytes = bytes*10 + int64(digit-'0')
	}
	if bytes > math.MaxInt64>>shift {
		return 0, false
	}
	return bytes << shift, true
}

// Names lists the names of a container's ports, for a message.
func Names(c *corev1.Container) []string {
	names := map[string]bool{}
	for _, p := range c.Ports {
		if p.Name != "" {
			names[p.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
