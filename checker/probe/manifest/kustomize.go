package manifest

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	kyaml "sigs.k8s.io/yaml"
)

// kustomizeRoots returns the folders to build: dir itself where it holds a
// kustomization, else those that no other includes; nil where there is no
// kustomization at all. What a kustomization would fetch from elsewhere is a
// problem, because kustomize would go and fetch it.
func kustomizeRoots(files map[string][]byte, dir string) ([]string, []Problem) {
	included := map[string]bool{}
	var roots []string
	var problems []Problem
	for _, name := range sortedNames(files) {
		if !slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(name)) {
			continue
		}
		var k types.Kustomization
		if err := kyaml.Unmarshal(files[name], &k); err != nil {
			problems = append(problems, Problem{File: name, Message: err.Error()})
			continue
		}
		at := path.Dir(name)
		for _, entry := range slices.Concat(k.Resources, k.Bases, k.Components) {
			included[path.Join(at, entry)] = true
		}
		for _, entry := range entries(&k) {
			if !local(files, path.Join(at, entry)) {
				problems = append(problems, Problem{File: name,
					Message: fmt.Sprintf("%q is not in this folder, and nothing is fetched from elsewhere", entry)})
			}
		}
		if k.Kind != types.ComponentKind {
			roots = append(roots, at)
		}
	}
	if slices.Contains(roots, dir) {
		return []string{dir}, problems
	}
	return slices.DeleteFunc(roots, func(r string) bool { return included[r] }), problems
}

// entries lists what a kustomization names by path.
func entries(k *types.Kustomization) []string {
	all := slices.Concat(k.Resources, k.Bases, k.Components, k.Crds, k.Configurations)
	for _, e := range slices.Concat(k.Generators, k.Transformers, k.Validators) {
		if !strings.Contains(e, "\n") { // else it is written out in place
			all = append(all, e)
		}
	}
	for _, p := range k.PatchesStrategicMerge {
		if !strings.Contains(string(p), "\n") {
			all = append(all, string(p))
		}
	}
	for _, p := range slices.Concat(k.Patches, k.PatchesJson6902) {
		all = append(all, p.Path)
	}
	for _, r := range k.Replacements {
		all = append(all, r.Path)
	}
	all = append(all, k.OpenAPI["path"])
	var sources []types.KvPairSources
	for _, g := range k.ConfigMapGenerator {
		sources = append(sources, g.KvPairSources)
	}
	for _, g := range k.SecretGenerator {
		sources = append(sources, g.KvPairSources)
	}
	for _, s := range sources {
		all = append(all, s.EnvSource)
		all = append(all, s.EnvSources...)
		for _, f := range s.FileSources {
			if _, file, ok := strings.Cut(f, "="); ok {
				f = file
			}
			all = append(all, f)
		}
	}
	return slices.DeleteFunc(all, func(e string) bool { return e == "" })
}

func local(files map[string][]byte, name string) bool {
	if _, ok := files[name]; ok {
		return true
	}
	for f := range files {
		if strings.HasPrefix(f, name+"/") {
			return true
		}
	}
	return false
}

// kustomize builds the kustomization in folder root, in memory.
func kustomize(files map[string][]byte, root string) (*Set, []Problem) {
	file := root + "/kustomization.yaml"
	mem := filesys.MakeFsInMemory()
	for name, b := range files {
		if path.Dir(name) == root && slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(name)) {
			file = name
		}
		if err := mem.WriteFile("/"+name, b); err != nil {
			return nil, []Problem{{File: name, Message: err.Error()}}
		}
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(mem, "/"+root)
	if err != nil {
		return nil, []Problem{{File: file, Message: "kustomize: " + err.Error()}}
	}
	s := &Set{Root: root}
	var problems []Problem
	for _, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			problems = append(problems, Problem{File: file, Message: err.Error()})
			continue
		}
		objects, ps := decode(file, document{0, text})
		for i := range ps {
			ps[i].Line = 0 // a line of what was built, not of a file
		}
		for _, o := range objects {
			o.Line = 0
		}
		s.Objects = append(s.Objects, objects...)
		problems = append(problems, ps...)
	}
	return s, problems
}
