package cluster

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// flaw is one thing that is wrong with an image.
type flaw struct{ Code, Message string }

// judge says what is wrong with an image, given what docker says of it and
// its files.
func judge(b *built, files []file) []flaw {
	var all []flaw
	wrong := func(code, format string, args ...any) { all = append(all, flaw{code, fmt.Sprintf(format, args...)}) }
	c := b.Inspect.Config

	var program *file
	var others []string
	for i, f := range files {
		if f.Sum == b.Sum {
			program = &files[i]
		} else {
			others = append(others, f.Name)
		}
	}
	if program == nil {
		wrong("image.files", "The binary is not in the image; COPY it: `COPY %s /%s`.", Name, Name)
	} else if program.Mode&0o005 != 0o005 {
		wrong("image.files", "%s has the rights %04o: a user who does not own it cannot run it.", program.Name, program.Mode)
	}
	if len(others) > 0 {
		wrong("image.files", "Beside the binary the image holds %s. Whatever is in it can be used by who breaks in, and must be kept up to date; COPY the binary by its name.", list(others, 5))
	}
	user, _, _ := strings.Cut(c.User, ":")
	switch {
	case user == "" || user == "0" || user == "root":
		wrong("image.user", "The image runs as root, and the namespace refuses that (runAsNonRoot); `USER 65532:65532`.")
	case strings.Trim(user, "0123456789") != "":
		wrong("image.user", "The image runs as %q. The kubelet cannot tell that a name is not root's; `USER 65532:65532`.", c.User)
	}
	switch e := c.Entrypoint; {
	case len(e) == 0 && len(c.Cmd) == 0:
		wrong("image.entrypoint", "The image has no ENTRYPOINT, so Kubernetes does not know what to start; `ENTRYPOINT [\"/%s\"]`.", Name)
	case len(e) == 0:
		wrong("image.entrypoint", "The image starts by CMD %s, which the first argument in a manifest takes away; `ENTRYPOINT [\"/%s\"]`.", quoted(c.Cmd), Name)
	case path.Base(e[0]) == "sh" || path.Base(e[0]) == "bash":
		wrong("image.entrypoint", "ENTRYPOINT is in its shell form and so starts %s. There is no shell in the image, and if there were, SIGTERM would be the shell's; `ENTRYPOINT [\"/%s\"]`.", quoted(e), Name)
	case program != nil && path.Join("/", c.WorkingDir, e[0]) != program.Name && e[0] != program.Name:
		wrong("image.entrypoint", "ENTRYPOINT starts %s, and the binary is %s.", quoted(e), program.Name)
	}
	for _, l := range []struct{ name, arg, want string }{
		{"org.opencontainers.image.version", "VERSION", b.Version},
		{"org.opencontainers.image.revision", "REVISION", b.Revision},
	} {
		switch got, ok := c.Labels[l.name]; {
		case !ok:
			wrong("image.label", "The image has no label %s, so nobody can tell what runs; `ARG %s` and `LABEL %s=\"${%s}\"`.", l.name, l.arg, l.name, l.arg)
		case got != l.want:
			wrong("image.label", "The label %s is %q and the build argument %s is %q; `ARG %s` must stand after FROM, and the label must be \"${%s}\".", l.name, got, l.arg, l.want, l.arg, l.arg)
		}
	}
	return all
}

func list(names []string, most int) string {
	if len(names) > most {
		names = append(slices.Clone(names[:most]), fmt.Sprintf("%d more", len(names)-most))
	}
	return strings.Join(names, ", ")
}

func quoted(words []string) string {
	b, _ := json.Marshal(words)
	return string(b)
}

// same reports whether two images are the same but for when they were built.
func same(a, b inspected) bool { return len(differences(a, b)) == 0 }

// differences lists in what two images differ: content of layers, and
// configuration. When and in which container they were made is not compared,
// because docker writes the time of the build there.
func differences(a, b inspected) []string {
	var all []string
	differ := func(what string, same bool) {
		if !same {
			all = append(all, what)
		}
	}
	differ("the layers", slices.Equal(a.RootFS.Layers, b.RootFS.Layers))
	differ("the user", a.Config.User == b.Config.User)
	differ("the entrypoint", slices.Equal(a.Config.Entrypoint, b.Config.Entrypoint))
	differ("the command", slices.Equal(a.Config.Cmd, b.Config.Cmd))
	differ("the environment", slices.Equal(a.Config.Env, b.Config.Env))
	differ("the labels", maps.Equal(a.Config.Labels, b.Config.Labels))
	differ("the working directory", a.Config.WorkingDir == b.Config.WorkingDir)
	differ("the platform", a.Os == b.Os && a.Arch == b.Arch)
	return all
}
