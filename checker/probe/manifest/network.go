package manifest

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Pod is one end of a connection, as a NetworkPolicy sees it. An end outside
// the cluster has no labels, and is reached through ipBlock only.
type Pod struct {
	Namespace       string
	Labels          map[string]string
	NamespaceLabels map[string]string // kubernetes.io/metadata.name is added
	Spec            *corev1.PodSpec   // for ports by name; may be nil
}

// Policies returns the NetworkPolicies that select the pod.
func (s *Set) Policies(p Pod) []Found[networkingv1.NetworkPolicy] {
	return slices.DeleteFunc(Of[networkingv1.NetworkPolicy](s), func(np Found[networkingv1.NetworkPolicy]) bool {
		return np.Namespace() != p.Namespace || !Selects(&np.Value.Spec.PodSelector, p.Labels)
	})
}

// Isolates reports whether a policy closes what it does not open, in that
// direction. Without policyTypes it does so for ingress, and for egress only
// where it has egress rules.
func Isolates(np *networkingv1.NetworkPolicy, direction networkingv1.PolicyType) bool {
	if len(np.Spec.PolicyTypes) > 0 {
		return slices.Contains(np.Spec.PolicyTypes, direction)
	}
	return direction == networkingv1.PolicyTypeIngress || len(np.Spec.Egress) > 0
}

// Rule is one ingress or egress rule: the peers that it opens ports to. No
// peers is everyone, no ports is every port.
type Rule struct {
	Policy string
	Peers  []networkingv1.NetworkPolicyPeer
	Ports  []networkingv1.NetworkPolicyPort

	from Pod // the pod that the policy selects
}

// Rules returns all rules of one direction that hold for the pod, and whether
// it is isolated at all: if not, everything is open and there are no rules.
func (s *Set) Rules(p Pod, direction networkingv1.PolicyType) (rules []Rule, isolated bool) {
	for _, np := range s.Policies(p) {
		if !Isolates(np.Value, direction) {
			continue
		}
		isolated = true
		if direction == networkingv1.PolicyTypeIngress {
			for _, r := range np.Value.Spec.Ingress {
				rules = append(rules, Rule{np.String(), r.From, r.Ports, p})
			}
			continue
		}
		for _, r := range np.Value.Spec.Egress {
			rules = append(rules, Rule{np.String(), r.To, r.Ports, p})
		}
	}
	return rules, isolated
}

// OpensPort reports whether the rule covers the port. A port's name is looked
// up in target, the pod that is connected to.
func (r Rule) OpensPort(target *corev1.PodSpec, protocol corev1.Protocol, port int32) bool {
	if len(r.Ports) == 0 {
		return true
	}
	return slices.ContainsFunc(r.Ports, func(p networkingv1.NetworkPolicyPort) bool {
		if p.Protocol != nil && *p.Protocol != protocol || p.Protocol == nil && protocol != corev1.ProtocolTCP {
			return false
		}
		switch {
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			if target == nil {
				return true // a name that cannot be looked up here
			}
			return slices.ContainsFunc(Running(target), func(c *corev1.Container) bool {
				n, ok := Port(c, *p.Port)
				return ok && n == port
			})
		case p.EndPort != nil:
			return p.Port.IntVal <= port && port <= *p.EndPort
		}
		return p.Port.IntVal == port
	})
}

// Reaches reports whether the rule's peers take the other end. An ipBlock is
// taken to: whose addresses it holds cannot be known here.
func (r Rule) Reaches(other Pod) bool {
	if len(r.Peers) == 0 {
		return true
	}
	return slices.ContainsFunc(r.Peers, func(p networkingv1.NetworkPolicyPeer) bool {
		if p.IPBlock != nil {
			return true
		}
		if p.NamespaceSelector == nil && other.Namespace != r.from.Namespace {
			return false
		}
		if p.NamespaceSelector != nil {
			l := map[string]string{corev1.LabelMetadataName: other.Namespace}
			for k, v := range other.NamespaceLabels {
				l[k] = v
			}
			if !Selects(p.NamespaceSelector, l) {
				return false
			}
		}
		return p.PodSelector == nil || Selects(p.PodSelector, other.Labels)
	})
}

// Everyone reports whether the rule's peers are not narrowed down at all: no
// peers, all addresses, or every namespace without a word on the pods.
func (r Rule) Everyone() bool {
	if len(r.Peers) == 0 {
		return true
	}
	return slices.ContainsFunc(r.Peers, func(p networkingv1.NetworkPolicyPeer) bool {
		if p.IPBlock != nil {
			return p.IPBlock.CIDR == "0.0.0.0/0" || p.IPBlock.CIDR == "::/0"
		}
		all := func(labels map[string]string, n int) bool { return len(labels) == 0 && n == 0 }
		ns, pods := p.NamespaceSelector, p.PodSelector
		return ns != nil && all(ns.MatchLabels, len(ns.MatchExpressions)) &&
			(pods == nil || all(pods.MatchLabels, len(pods.MatchExpressions)))
	})
}
