package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"pitstop/checker/gotool"
)

var imageSteps = []Step{
	{"program", "build dispatchd as one static Linux binary, with version and revision in it", (*Session).buildProgram, true},
	{"image", "build the image from the Dockerfile, fetch nothing, and look at what is in it", (*Session).buildImage, true},
	{"reproducible", "build the image twice more without a cache, and compare", (*Session).buildAgain, false},
	{"starts", "start the image with a read-only root, no capabilities and no network, then stop it", (*Session).startImage, false},
	{"ko", "build the same program into an image with ko, where it is installed", (*Session).buildWithKo, false},
}

// epoch is the time that everything in an image bears.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// built is the image of this run.
type built struct {
	Ref, Version, Revision string
	Arch                   string
	Context                string // the folder with the binary and the Dockerfile
	Sum                    string // of the binary, SHA-256
	Inspect                inspected
}

// inspected is what docker says of an image.
type inspected struct {
	ID     string `json:"Id"`
	Size   int64
	Os     string
	Arch   string `json:"Architecture"`
	Config struct {
		User       string
		Entrypoint []string
		Cmd        []string
		Env        []string
		Labels     map[string]string
		WorkingDir string
		Volumes    map[string]struct{}
	}
	RootFS struct{ Layers []string }
}

func (s *Session) inspect(ctx context.Context, ref string) (inspected, error) {
	out, err := s.run(ctx, nil, "docker", "image", "inspect", ref)
	if err != nil {
		return inspected{}, err
	}
	var all []inspected
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 {
		return inspected{}, fmt.Errorf("docker image inspect %s: %d images, %w", ref, len(all), err)
	}
	return all[0], nil
}

func (s *Session) buildProgram(ctx context.Context, r *Record) error {
	b, binary, err := s.stamped(ctx, r)
	if b == nil {
		return err
	}
	s.image = b
	f, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		return err
	}
	dynamic := 0
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			dynamic++
		}
	}
	if !r.Equal("parts that need a dynamic linker", float64(dynamic), 0, "") {
		r.Find("image.static", "The binary is not static: in an image FROM scratch there is no linker to start it.")
	}
	for _, stamp := range []struct{ name, value string }{{"version", b.Version}, {"revision", b.Revision}} {
		if n := bytes.Count(binary, []byte(stamp.value)); !r.AtLeast("times that its "+stamp.name+" is in the binary", float64(n), 1, "") {
			r.Find("image.stamp", "The %s %q is not in the binary: package main of cmd/dispatchd needs a string variable %s that is used.", stamp.name, stamp.value, stamp.name)
		}
	}
	r.Note("binary", float64(len(binary)), "B")
	r.Say("%s, revision %s, linux/%s", b.Ref, b.Revision, b.Arch)
	return nil
}

// stamped builds the binary and lays it out beside the Dockerfile. It returns
// no image, and a nil error, where the learner's files do not build.
func (s *Session) stamped(ctx context.Context, r *Record) (*built, []byte, error) {
	dockerfile, err := s.text("Dockerfile")
	if err != nil {
		return nil, nil, err
	}
	arch, err := s.arch(ctx)
	if err != nil {
		return nil, nil, err
	}
	b := &built{Version: s.Version, Revision: s.revision(ctx), Arch: arch}
	build := func(version string) ([]byte, error) {
		r.Say("go build ./lessons/%s/cmd/%s", Capstone, Name)
		out, err := s.program(ctx, s.Source, Name, arch, map[string]string{"version": version, "revision": b.Revision})
		if err != nil {
			return nil, err
		}
		return os.ReadFile(out)
	}
	if b.Version == "" {
		plain, err := build("unversioned")
		if err != nil {
			return nil, nil, s.compileError(r, err)
		}
		b.Version = contentVersion(map[string][]byte{"binary": plain, "Dockerfile": dockerfile})
	}
	if !tagForm.MatchString(b.Version) {
		return nil, nil, fmt.Errorf("version %q cannot be a tag: letters, digits, dots, dashes and underscores", b.Version)
	}
	b.Ref = Name + ":" + b.Version
	binary, err := build(b.Version)
	if err != nil {
		return nil, nil, s.compileError(r, err)
	}
	sum := sha256.Sum256(binary)
	b.Sum = hex.EncodeToString(sum[:])
	b.Context, err = s.layOut(Name, dockerfile, binary)
	return b, binary, err
}

var tagForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// compileError makes a finding of what the compiler says.
func (s *Session) compileError(r *Record, err error) error {
	var e *gotool.BuildError
	if !errors.As(err, &e) {
		return err
	}
	f := r.Find("build.compile", "The service does not compile: %s", firstLineOf(e.Output))
	f.Detail = e.Output
	return nil
}

func firstLineOf(out string) string {
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return line
		}
	}
	return "the compiler says nothing"
}

// arch is that of the engine, which is that of the nodes it runs.
func (s *Session) arch(ctx context.Context) (string, error) {
	out, err := s.run(ctx, nil, "docker", "version", "--format", "{{.Server.Arch}}")
	return strings.TrimSpace(out), err
}

// layOut makes a folder for docker build: the Dockerfile and the binary, with
// times and rights that do not depend on who builds.
func (s *Session) layOut(name string, dockerfile, binary []byte) (string, error) {
	dir, err := os.MkdirTemp(s.Tmp, "image-")
	if err != nil {
		return "", err
	}
	for file, b := range map[string][]byte{"Dockerfile": dockerfile, name: binary} {
		mode := os.FileMode(0o644)
		if file == name {
			mode = 0o755
		}
		p := filepath.Join(dir, file)
		if err := errors.Join(os.WriteFile(p, b, mode), os.Chmod(p, mode), os.Chtimes(p, epoch, epoch)); err != nil {
			return "", err
		}
	}
	return dir, nil
}

func (s *Session) dockerBuild(ctx context.Context, ref, dir, version, revision string, more ...string) error {
	args := append([]string{"build", "--network", "none", "--build-arg", "VERSION=" + version, "--build-arg", "REVISION=" + revision, "-t", ref}, more...)
	_, err := s.run(ctx, nil, "docker", append(args, dir)...)
	return err
}

func (s *Session) buildImage(ctx context.Context, r *Record) error {
	b := s.image
	dockerfile, err := os.ReadFile(filepath.Join(b.Context, "Dockerfile"))
	if err != nil {
		return err
	}
	at := s.where("Dockerfile")
	if fetched := fetches(dockerfile); len(fetched) > 0 {
		for _, f := range fetched {
			r.Find("image.fetches", "Line %d of the Dockerfile fetches %s. The binary is built already, so FROM scratch is all it needs.", f.Line, f.What).File = at
		}
		return nil
	}
	before, _ := s.inspect(ctx, b.Ref)
	r.Say("docker build -t %s", b.Ref)
	if err := s.dockerBuild(ctx, b.Ref, b.Context, b.Version, b.Revision); err != nil {
		f := r.Find("image.build", "docker build refuses the Dockerfile: %s", lastLine(said(err)))
		f.File, f.Detail = at, said(err)
		return nil
	}
	if b.Inspect, err = s.inspect(ctx, b.Ref); err != nil {
		return err
	}
	if s.Version != "" && before.ID != "" && !same(before, b.Inspect) {
		r.Find("image.version", "%s was another image until now. A version names one image for ever: a node that has the old one does not ask again. Take another VERSION, or none, and one is made of the content.", b.Ref)
	}
	files, err := s.filesOf(ctx, b.Ref)
	if err != nil {
		return err
	}
	for _, w := range judge(b, files) {
		r.Find(w.Code, "%s", w.Message).File = at
	}
	r.AtMost("files in the image", float64(len(files)), 1, "")
	r.Note("layers", float64(len(b.Inspect.RootFS.Layers)), "")
	r.Note("image", float64(b.Inspect.Size), "B")
	return nil
}

func (s *Session) buildAgain(ctx context.Context, r *Record) error {
	b := s.image
	var twice [2]inspected
	for i := range twice {
		r.Say("docker build --no-cache, %d of 2", i+1)
		ref := fmt.Sprintf("%s-again:%d", Name, i)
		// The binary is linked anew as well.
		out, err := s.program(ctx, s.Source, Name, b.Arch, map[string]string{"version": b.Version, "revision": b.Revision})
		if err != nil {
			return err
		}
		binary, err := os.ReadFile(out)
		if err != nil {
			return err
		}
		dockerfile, err := os.ReadFile(filepath.Join(b.Context, "Dockerfile"))
		if err != nil {
			return err
		}
		dir, err := s.layOut(Name, dockerfile, binary)
		if err != nil {
			return err
		}
		if err := s.dockerBuild(ctx, ref, dir, b.Version, b.Revision, "--no-cache"); err != nil {
			return err
		}
		defer s.forget(ctx, ref)
		if twice[i], err = s.inspect(ctx, ref); err != nil {
			return err
		}
	}
	differ := differences(twice[0], twice[1])
	if !r.Equal("parts that differ between two builds", float64(len(differ)), 0, "") {
		r.Find("image.reproducible", "Two builds of the same files differ in %s. A folder that COPY makes bears the time of the build; COPY the one file to a place that is there: `COPY %s /%s`.", strings.Join(differ, " and "), Name, Name).File = s.where("Dockerfile")
	}
	r.Say("compared: each layer's content, user, entrypoint, command, environment, labels, platform; not compared: when it was built")
	sameID := 0.0
	if twice[0].ID == twice[1].ID {
		sameID = 1
	}
	r.Note("image IDs equal, times and all", sameID, "")
	return nil
}

// forget takes away an image that was made for comparison only.
func (s *Session) forget(ctx context.Context, ref string) {
	ctx, cancel := after(ctx)
	defer cancel()
	_, _ = s.run(ctx, nil, "docker", "image", "rm", ref)
}

func (s *Session) startImage(ctx context.Context, r *Record) error {
	name := fmt.Sprintf("pitstop-%d", os.Getpid())
	remove := func() {
		ctx, cancel := after(ctx)
		defer cancel()
		_, _ = s.run(ctx, nil, "docker", "rm", "--force", name)
	}
	defer remove()
	_, err := s.run(ctx, nil, "docker", "run", "--detach", "--name", name, "--network", "none", "--read-only",
		"--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--env", "DATABASE_URL=http://127.0.0.1:5432", s.image.Ref)
	if err != nil {
		r.Find("image.start", "The image does not start: %s", lastLine(said(err))).File = s.where("Dockerfile")
		return nil
	}
	type state struct {
		Running  bool
		ExitCode int
	}
	look := func() (v state, err error) {
		out, err := s.run(ctx, nil, "docker", "inspect", "--format", "{{json .State}}", name)
		if err != nil {
			return v, err
		}
		return v, json.Unmarshal([]byte(out), &v)
	}
	begin := time.Now()
	for time.Since(begin) < 2*time.Second {
		v, err := look()
		if err != nil {
			return err
		}
		if !v.Running {
			logs, _ := s.run(ctx, nil, "docker", "logs", name)
			f := r.Find("image.start", "The image starts, and has ended %.1f s later with status %d.", time.Since(begin).Seconds(), v.ExitCode)
			f.Detail = lastLines(logs, 8)
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
	begin = time.Now()
	if _, err := s.run(ctx, nil, "docker", "stop", "--time", "35", name); err != nil {
		return err
	}
	v, err := look()
	if err != nil {
		return err
	}
	r.Note("from SIGTERM to the end", time.Since(begin).Seconds(), "s")
	if !r.Equal("exit status after SIGTERM", float64(v.ExitCode), 0, "") {
		r.Find("image.stop", "After SIGTERM the process ends with status %d (137 is SIGKILL, 143 a SIGTERM that nobody caught). That is lesson 03's, and the wiring's.", v.ExitCode)
	}
	return nil
}
