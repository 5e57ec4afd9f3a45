package manifest

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Restricted says what keeps a pod out of a namespace that enforces the
// restricted Pod Security Standard, one sentence each; nil where nothing does.
// A setting counts where Kubernetes lets it: what a container says goes before
// what its pod says, and some settings are a container's only.
func Restricted(template *corev1.PodTemplateSpec) []string {
	pod := &template.Spec
	var found []string
	bad := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }

	if pod.HostNetwork || pod.HostPID || pod.HostIPC {
		bad("the pod shares the node's network, processes or IPC")
	}
	for _, v := range pod.Volumes {
		s := v.VolumeSource
		if s.ConfigMap == nil && s.CSI == nil && s.DownwardAPI == nil && s.EmptyDir == nil && s.Ephemeral == nil &&
			s.PersistentVolumeClaim == nil && s.Projected == nil && s.Secret == nil && s != (corev1.VolumeSource{}) {
			bad("volume %s is of a type that is not allowed, as hostPath is not", v.Name)
		}
	}
	for k, v := range template.Annotations {
		if strings.HasPrefix(k, "container.apparmor.security.beta.kubernetes.io/") && v == "unconfined" {
			bad("AppArmor is turned off by the annotation %s", k)
		}
	}
	ps := pod.SecurityContext
	if ps == nil {
		ps = &corev1.PodSecurityContext{}
	}
	if a := ps.AppArmorProfile; a != nil && a.Type == corev1.AppArmorProfileTypeUnconfined {
		bad("AppArmor is turned off for the pod")
	}
	if w := ps.WindowsOptions; w != nil && w.HostProcess != nil && *w.HostProcess {
		bad("the pod is a host process")
	}
	for _, s := range ps.Sysctls {
		if !slices.Contains(safeSysctls, s.Name) {
			bad("sysctl %s is not a safe one", s.Name)
		}
	}
	badSELinux := func(o *corev1.SELinuxOptions) bool {
		return o != nil && (o.User != "" || o.Role != "" ||
			!slices.Contains([]string{"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}, o.Type))
	}
	if badSELinux(ps.SELinuxOptions) {
		bad("the pod sets an SELinux user, role or type")
	}
	if ps.RunAsUser != nil && *ps.RunAsUser == 0 {
		bad("the pod has runAsUser: 0, which is root")
	}
	if ps.SeccompProfile != nil && !seccomp(ps.SeccompProfile) {
		bad("the pod's seccompProfile is %s", ps.SeccompProfile.Type)
	}
	// The pod's own word counts even where every container contradicts it.
	if ps.RunAsNonRoot != nil && !*ps.RunAsNonRoot {
		bad("the pod has runAsNonRoot: false")
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		sc := c.SecurityContext
		if sc == nil {
			sc = &corev1.SecurityContext{}
		}
		if sc.Privileged != nil && *sc.Privileged {
			bad("container %s is privileged", c.Name)
		}
		if sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation {
			bad("container %s does not set allowPrivilegeEscalation: false, which only a container can", c.Name)
		}
		switch {
		case sc.RunAsNonRoot != nil && !*sc.RunAsNonRoot:
			bad("container %s has runAsNonRoot: false, which overrides the pod", c.Name)
		case sc.RunAsNonRoot == nil && ps.RunAsNonRoot == nil:
			bad("neither container %s nor its pod has runAsNonRoot: true", c.Name)
		}
		if sc.RunAsUser != nil && *sc.RunAsUser == 0 {
			bad("container %s has runAsUser: 0, which is root", c.Name)
		}
		switch {
		case sc.SeccompProfile != nil && !seccomp(sc.SeccompProfile):
			bad("container %s has the seccompProfile %s", c.Name, sc.SeccompProfile.Type)
		case sc.SeccompProfile == nil && ps.SeccompProfile == nil:
			bad("neither container %s nor its pod has a seccompProfile; RuntimeDefault is one", c.Name)
		}
		caps := sc.Capabilities
		if caps == nil || !slices.Contains(caps.Drop, "ALL") {
			bad("container %s does not drop the capabilities ALL, which only a container can", c.Name)
		}
		if caps != nil {
			for _, a := range caps.Add {
				if a != "NET_BIND_SERVICE" {
					bad("container %s adds the capability %s", c.Name, a)
				}
			}
		}
		if badSELinux(sc.SELinuxOptions) {
			bad("container %s sets an SELinux user, role or type", c.Name)
		}
		if sc.ProcMount != nil && *sc.ProcMount != corev1.DefaultProcMount {
			bad("container %s has procMount %s", c.Name, *sc.ProcMount)
		}
		if a := sc.AppArmorProfile; a != nil && a.Type == corev1.AppArmorProfileTypeUnconfined {
			bad("AppArmor is turned off for container %s", c.Name)
		}
		for _, p := range c.Ports {
			if p.HostPort != 0 {
				bad("container %s takes port %d of the node", c.Name, p.HostPort)
			}
		}
		if named(&c) {
			bad("a probe or a hook of container %s names a host of its own", c.Name)
		}
	}
	return found
}

var safeSysctls = []string{
	"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
	"net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
	"net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
	"net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}

func seccomp(p *corev1.SeccompProfile) bool {
	return p.Type == corev1.SeccompProfileTypeRuntimeDefault || p.Type == corev1.SeccompProfileTypeLocalhost
}

// named reports whether the kubelet is told to ask a host other than the pod.
func named(c *corev1.Container) bool {
	host := func(g *corev1.HTTPGetAction, t *corev1.TCPSocketAction) bool {
		return g != nil && g.Host != "" || t != nil && t.Host != ""
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p != nil && host(p.HTTPGet, p.TCPSocket) {
			return true
		}
	}
	if l := c.Lifecycle; l != nil {
		for _, h := range []*corev1.LifecycleHandler{l.PostStart, l.PreStop} {
			if h != nil && host(h.HTTPGet, h.TCPSocket) {
				return true
			}
		}
	}
	return false
}
