// Package manifest reads a folder of Kubernetes manifests the way kubectl and
// the API server would, and answers what tests ask of them: which pods a
// selector selects, which port a name means, what a container finds in its
// environment. It holds no opinion: what is right is for the tests to say.
//
// Nothing here needs a cluster or the network.
package manifest

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Object is one manifest. Typed is nil for a kind that Kubernetes does not
// bring along (a custom resource); Fields is there for every kind.
type Object struct {
	GVK    schema.GroupVersionKind
	Meta   metav1.ObjectMeta
	Typed  runtime.Object
	Fields map[string]any

	File string // slash path inside the file system
	Line int    // where its document begins; 0 when kustomize made it
}

// String names the object and where it stands: "Service/dispatchd
// (deploy/service.yaml:1)".
func (o *Object) String() string {
	return fmt.Sprintf("%s/%s (%s)", o.GVK.Kind, o.Meta.Name, place(o.File, o.Line))
}

// Set is what one kubectl apply would send.
type Set struct {
	Root    string // the folder, or the folder whose kustomization made it
	Objects []*Object
}

// Problem is a manifest that Kubernetes would refuse to read, or would read
// otherwise than it is written. Line is 0 where it is not known.
type Problem struct {
	File    string
	Line    int
	Message string
}

func (p Problem) String() string { return place(p.File, p.Line) + ": " + p.Message }

// Load reads the manifests in folder dir. Three layouts are understood:
//
//   - no kustomization anywhere: every .yaml, .yml and .json file below dir,
//     as kubectl apply --recursive -f dir takes them; one set.
//   - dir has a kustomization: what kubectl apply -k dir takes; one set. A
//     file that it does not list is not applied, and so not in the set.
//   - kustomizations further down only: one set for each that no other
//     includes, which is to say for each overlay.
//
// Decoding is strict: an unknown field, a wrong type and a key given twice
// are problems. An object with a problem is in its set all the same when its
// kind could be told, without the fields that nobody knows.
func Load(fsys fs.FS, dir string) ([]*Set, []Problem) {
	files, err := readTree(fsys, dir)
	if err != nil {
		return nil, []Problem{{File: dir, Message: err.Error()}}
	}
	roots, problems := kustomizeRoots(files, dir)
	if len(problems) > 0 {
		return nil, problems
	}
	if roots == nil {
		s := &Set{Root: dir}
		for _, name := range sortedNames(files) {
			if !slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(name)) {
				continue
			}
			objects, ps := decodeFile(name, files[name])
			s.Objects = append(s.Objects, objects...)
			problems = append(problems, ps...)
		}
		return []*Set{s}, problems
	}
	var sets []*Set
	for _, root := range roots {
		s, ps := kustomize(files, root)
		problems = append(problems, ps...)
		if s != nil {
			sets = append(sets, s)
		}
	}
	return sets, problems
}

// Found is an object of a known type.
type Found[T any] struct {
	*Object
	Value *T
}

// Of returns the set's objects of type T, as in Of[appsv1.Deployment](s), in
// the order in which they were read.
func Of[T any](s *Set) []Found[T] {
	var all []Found[T]
	for _, o := range s.Objects {
		if v, ok := any(o.Typed).(*T); ok {
			all = append(all, Found[T]{o, v})
		}
	}
	return all
}

// Duplicates returns the objects that stand in the set more than once, each
// time but the first: when they are applied, the last one wins.
func (s *Set) Duplicates() []*Object {
	type key struct{ group, kind, namespace, name string }
	seen := map[key]bool{}
	var again []*Object
	for _, o := range s.Objects {
		k := key{o.GVK.Group, o.GVK.Kind, o.Meta.Namespace, o.Meta.Name}
		if seen[k] {
			again = append(again, o)
		}
		seen[k] = true
	}
	return again
}

func readTree(fsys fs.FS, dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := fs.WalkDir(fsys, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(fsys, name)
		files[name] = normal(b)
		return err
	})
	return files, err
}

func sortedNames(files map[string][]byte) []string {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(strings.Compare(path.Dir(a), path.Dir(b)), strings.Compare(a, b))
	})
	return names
}

func place(file string, line int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}
