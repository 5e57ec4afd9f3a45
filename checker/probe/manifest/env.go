package manifest

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Value is what a container finds in one environment variable.
type Value struct {
	Text   string
	Source string // where it comes from, for a message: "value", "ConfigMap/limits key heap", "limits.memory"
	Known  bool   // Text is what the process sees; a Secret's text, say, is not known here
	Secret bool   // all of it comes from a Secret
}

// Env returns what the container finds in its environment. As in Kubernetes,
// env goes before envFrom, later entries before earlier ones, and $(NAME) is
// replaced in value by what stands above it.
func (s *Set) Env(namespace string, pod *corev1.PodSpec, c *corev1.Container) map[string]Value {
	env := map[string]Value{}
	for _, from := range c.EnvFrom {
		switch {
		case from.ConfigMapRef != nil:
			for k, v := range s.configMap(namespace, from.ConfigMapRef.Name) {
				env[from.Prefix+k] = Value{Text: v, Source: "ConfigMap/" + from.ConfigMapRef.Name + " key " + k, Known: true}
			}
		case from.SecretRef != nil:
			for k := range s.secret(namespace, from.SecretRef.Name) {
				env[from.Prefix+k] = Value{Source: "Secret/" + from.SecretRef.Name + " key " + k, Secret: true}
			}
		}
	}
	for _, e := range c.Env {
		env[e.Name] = s.value(namespace, pod, c, e, env)
	}
	return env
}

func (s *Set) value(namespace string, pod *corev1.PodSpec, c *corev1.Container, e corev1.EnvVar, env map[string]Value) Value {
	from := e.ValueFrom
	switch {
	case from == nil:
		text, known := expand(e.Value, env)
		return Value{Text: text, Source: "value", Known: known}
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		text, ok := s.configMap(namespace, ref.Name)[ref.Key]
		return Value{Text: text, Source: "ConfigMap/" + ref.Name + " key " + ref.Key, Known: ok}
	case from.SecretKeyRef != nil:
		return Value{Source: "Secret/" + from.SecretKeyRef.Name + " key " + from.SecretKeyRef.Key, Secret: true}
	case from.ResourceFieldRef != nil:
		return resourceField(pod, c, from.ResourceFieldRef)
	case from.FieldRef != nil:
		return Value{Source: from.FieldRef.FieldPath}
	}
	return Value{Source: "valueFrom"}
}

// resourceField is the downward API: the amount divided by the divisor, 1
// where none is given, and rounded up.
func resourceField(pod *corev1.PodSpec, c *corev1.Container, ref *corev1.ResourceFieldSelector) Value {
	for _, other := range Running(pod) {
		if other.Name == ref.ContainerName {
			c = other
		}
	}
	v := Value{Source: ref.Resource}
	var amount int64
	kind, name, _ := strings.Cut(ref.Resource, ".")
	unit := int64(1000)
	switch name {
	case "memory":
		limit, request := Memory(pod, c)
		amount = limit
		if kind == "requests" {
			amount = request
		}
		unit = 1
	case "cpu":
		limit, request := CPU(pod, c)
		amount = limit
		if kind == "requests" {
			amount = request
		}
	default:
		return v
	}
	if amount == 0 {
		return v // the node's own size, which is not known here
	}
	divisor := 1.0
	if !ref.Divisor.IsZero() {
		divisor = ref.Divisor.AsApproximateFloat64()
		v.Source += " divided by " + ref.Divisor.String()
	}
	v.Text, v.Known = strconv.FormatFloat(math.Ceil(float64(amount)/float64(unit)/divisor), 'f', 0, 64), true
	return v
}

func (s *Set) configMap(namespace, name string) map[string]string {
	for _, m := range Of[corev1.ConfigMap](s) {
		if m.Meta.Name == name && m.Namespace() == namespace {
			return m.Value.Data
		}
	}
	return nil
}

func (s *Set) secret(namespace, name string) map[string]bool {
	keys := map[string]bool{}
	for _, m := range Of[corev1.Secret](s) {
		if m.Meta.Name == name && m.Namespace() == namespace {
			for k := range m.Value.Data {
				keys[k] = true
			}
			for k := range m.Value.StringData {
				keys[k] = true
			}
		}
	}
	return keys
}

// expand replaces $(NAME) as Kubernetes does: $$ is a dollar, and a name that
// is not there stays as it is written.
func expand(text string, env map[string]Value) (string, bool) {
	var b strings.Builder
	known := true
	for {
		i := strings.IndexByte(text, '$')
		if i < 0 || i+1 == len(text) {
			b.WriteString(text)
			return b.String(), known
		}
		b.WriteString(text[:i])
		rest := text[i+1:]
		name, after, closed := strings.Cut(strings.TrimPrefix(rest, "("), ")")
		switch {
		case rest[0] == '$':
			b.WriteByte('$')
			text = rest[1:]
		case rest[0] != '(' || !closed:
			b.WriteByte('$')
			text = rest
		default:
			v, ok := env[name]
			switch {
			case !ok:
				fmt.Fprintf(&b, "$(%s)", name)
			case !v.Known:
				known = false
			}
			b.WriteString(v.Text)
			text = after
		}
	}
}
