package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/yaml"
)

// known holds the kinds of the API groups that a service's manifests use.
// A kind of one of builtin's groups that is not in it does not exist.
var known = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, autoscalingv1.AddToScheme, autoscalingv2.AddToScheme, batchv1.AddToScheme,
		corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme, rbacv1.AddToScheme, schedulingv1.AddToScheme,
	} {
		if err := add(s); err != nil {
			panic(err) // two kinds of one name in k8s.io/api
		}
	}
	return s
}()

var builtin = []string{"", "apps", "autoscaling", "batch", "extensions", "networking.k8s.io", "policy",
	"rbac.authorization.k8s.io", "scheduling.k8s.io"}

// normal takes away what editors on other systems add: a byte order mark and
// carriage returns. YAML gives neither a meaning at these places.
func normal(b []byte) []byte {
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
}

type document struct {
	line int // of its first line that says something
	text []byte
}

// split cuts a stream of YAML documents apart. Each keeps its place: its text
// is padded with empty lines, so that a parser's line numbers are the file's.
func split(b []byte) []document {
	var docs []document
	var text []byte
	first := 0
	flush := func(upto int) {
		if first > 0 {
			docs = append(docs, document{first, text})
		}
		text, first = bytes.Repeat([]byte("\n"), upto), 0
	}
	for i, line := range bytes.Split(b, []byte("\n")) {
		rest, cut := separator(line)
		if cut {
			flush(i)
			line = rest
		}
		said := bytes.TrimSpace(line)
		if first == 0 && len(said) > 0 && said[0] != '#' && said[0] != '%' {
			first = i + 1
		}
		text = append(append(text, line...), '\n')
	}
	flush(0)
	return docs
}

// separator reports whether the line ends a document, and what of the next
// one stands on the same line.
func separator(line []byte) (rest []byte, ok bool) {
	if rest, ok = bytes.CutPrefix(line, []byte("---")); !ok {
		rest, ok = bytes.CutPrefix(line, []byte("..."))
	}
	if !ok || len(rest) > 0 && rest[0] != ' ' && rest[0] != '\t' {
		return nil, false
	}
	return rest, true
}

func decodeFile(name string, b []byte) ([]*Object, []Problem) {
	var objects []*Object
	var problems []Problem
	for _, d := range split(b) {
		o, p := decode(name, d)
		objects = append(objects, o...)
		problems = append(problems, p...)
	}
	return objects, problems
}

var yamlLine = regexp.MustCompile(`line (\d+): ([^\n]+)`)

func decode(name string, d document) ([]*Object, []Problem) {
	var problems []Problem
	asJSON, err := kyaml.YAMLToJSONStrict(d.text)
	if err != nil {
		for _, m := range yamlLine.FindAllStringSubmatch(err.Error(), -1) {
			line, _ := strconv.Atoi(m[1])
			problems = append(problems, Problem{name, line, m[2]})
		}
		if problems == nil {
			problems = []Problem{{name, d.line, err.Error()}}
		}
		// A key given twice is no reason to know nothing of the object.
		if asJSON, err = kyaml.YAMLToJSON(d.text); err != nil {
			return nil, problems
		}
	}
	if string(asJSON) == "null" {
		return nil, problems
	}
	var node yaml.Node
	_ = yaml.Unmarshal(d.text, &node) // for line numbers only; it was read above
	objects, more := decodeJSON(name, d.line, asJSON, &node)
	return objects, append(problems, more...)
}

func decodeJSON(name string, line int, asJSON []byte, node *yaml.Node) ([]*Object, []Problem) {
	fail := func(format string, args ...any) ([]*Object, []Problem) {
		return nil, []Problem{{name, line, fmt.Sprintf(format, args...)}}
	}
	var head struct {
		metav1.TypeMeta
		Metadata metav1.ObjectMeta `json:"metadata"`
		Items    []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(asJSON, &head); err != nil {
		return fail("not a Kubernetes object: %v", err)
	}
	if head.APIVersion == "" || head.Kind == "" {
		return fail("apiVersion or kind is missing")
	}
	if head.APIVersion == "v1" && head.Kind == "List" {
		var objects []*Object
		var problems []Problem
		for i, item := range head.Items {
			at := line
			sub := find(node, []string{"items", strconv.Itoa(i)})
			if sub != nil {
				at = sub.Line
			}
			o, p := decodeJSON(name, at, item, sub)
			objects, problems = append(objects, o...), append(problems, p...)
		}
		return objects, problems
	}
	gv, err := schema.ParseGroupVersion(head.APIVersion)
	if err != nil {
		return fail("apiVersion: %v", err)
	}
	o := &Object{GVK: gv.WithKind(head.Kind), Meta: head.Metadata, File: name, Line: line}
	if err := json.Unmarshal(asJSON, &o.Fields); err != nil {
		return fail("%v", err)
	}
	if !known.Recognizes(o.GVK) {
		if slices.Contains(builtin, gv.Group) {
			return fail("Kubernetes has no kind %s in %s, or has no longer", head.Kind, head.APIVersion)
		}
		return []*Object{o}, nil
	}
	typed, err := known.New(o.GVK)
	if err != nil {
		return fail("%v", err)
	}
	strict, err := kjson.UnmarshalStrict(asJSON, typed)
	if err != nil {
		return fail("%s/%s: %v", head.Kind, head.Metadata.Name, err)
	}
	o.Typed = typed
	var problems []Problem
	for _, e := range strict {
		p := Problem{name, line, fmt.Sprintf("%s/%s: %v", head.Kind, head.Metadata.Name, e)}
		if n := find(node, steps(e)); n != nil {
			p.Line = n.Line
		}
		problems = append(problems, p)
	}
	if head.Metadata.Name == "" && head.Metadata.GenerateName == "" {
		problems = append(problems, Problem{name, line, head.Kind + " without metadata.name"})
	}
	return []*Object{o}, problems
}

var quoted = regexp.MustCompile(`"(.+)"`)

// steps reads the path out of an error of a strict decoder, as in unknown
// field "spec.containers[0].imagee".
func steps(err error) []string {
	m := quoted.FindStringSubmatch(err.Error())
	if m == nil {
		return nil
	}
	return strings.FieldsFunc(m[1], func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}

// find walks down to the key that the steps name, and returns nil where there
// is none: a key with a dot in it, or one that an anchor merges in.
func find(n *yaml.Node, steps []string) *yaml.Node {
	if n != nil && n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	if len(steps) == 0 {
		return nil
	}
	for i, step := range steps {
		if n != nil && n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		if n == nil {
			return nil
		}
		var next *yaml.Node
		switch n.Kind {
		case yaml.SequenceNode:
			if at, err := strconv.Atoi(step); err == nil && at < len(n.Content) {
				next = n.Content[at]
			}
		case yaml.MappingNode:
			for k := 0; k+1 < len(n.Content); k += 2 {
				if n.Content[k].Value == step {
					next = n.Content[k+1]
					if i == len(steps)-1 {
						next = n.Content[k]
					}
				}
			}
		}
		n = next
	}
	return n
}
