// Package cluster takes dispatchd out of the checker's hands: into an image,
// and onto a Kubernetes cluster that kind runs in Docker. Each command is a
// list of steps; a step says what it does, measures, and ends in an outcome
// with its evidence.
//
// It drives docker, kind and kubectl as a person would, so that what it does
// can be typed by hand. It speaks to its own cluster only: each kubectl names
// the context, and the kubeconfig is a file of the workshop's.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"pitstop/checker/gotool"
	"pitstop/checker/progress"
	"pitstop/checker/workshop"
)

// Capstone is the lesson whose service goes onto the cluster, Manifests the
// one whose files say how.
const (
	Capstone  = "24_capstone"
	Manifests = "23_manifests"
)

// Name is the program's, its container's and its image's.
const Name = "dispatchd"

// Session is one command's run.
type Session struct {
	Workshop *workshop.Workshop
	Tool     *gotool.Toolchain // nil where nothing is built
	Tmp      string            // a folder of this run's own
	Source   Source            // whose packages, manifests, Dockerfile and kind.yaml

	Cluster   string   // kind's name for it
	NodeImage string   // of the nodes; empty is kind's own
	Config    string   // a kind config in the place of the lesson's; may be empty
	Version   string   // of the image; empty is one made of its content
	Overlay   string   // which kustomization below deploy, where there are several
	Only      []string // the steps to run, and those that they need; empty is every one
	Rate      int      // requests a second of each load pod

	Emit func(Event) // called from one goroutine at a time

	image             *built
	service           *service
	unsolved, outside string // images
}

// Source says whose files the service is made of.
type Source int

const (
	Learner   Source = iota // the tree, as it is
	Reference               // each lesson's reference mend in the learner's place
	Unsolved                // each lesson as it was shipped
)

// text reads a file of the capstone that the learner writes, as Dockerfile.
func (s *Session) text(name string) ([]byte, error) {
	if s.Source == Reference {
		return fs.ReadFile(s.Workshop.Solutions, "solutions/"+Capstone+"/"+name)
	}
	b, err := os.ReadFile(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not there; `bin/checker reset %s` puts it back", s.where(name), Capstone[:2])
	}
	return b, err
}

// where is how a finding names a file of the capstone.
func (s *Session) where(name string) string {
	if s.Source == Reference {
		return "solutions/" + Capstone + "/" + name
	}
	return "lessons/" + Capstone + "/" + name
}

func (s *Session) path(name string) string {
	return filepath.Join(s.Workshop.Root, "lessons", Capstone, filepath.FromSlash(name))
}

// kubeconfig is the file that KUBECONFIG names, or else one of the
// workshop's own: ~/.kube/config is left alone.
func (s *Session) kubeconfig() string {
	if own := os.Getenv("KUBECONFIG"); own != "" {
		return own
	}
	return filepath.Join(s.Workshop.Root, progress.Dir, "kubeconfig")
}

// exists asks kind whether the cluster is there.
func (s *Session) exists(ctx context.Context) (bool, error) {
	out, err := s.run(ctx, nil, "kind", "get", "clusters")
	if err != nil {
		return false, err
	}
	for name := range strings.Lines(out) {
		if strings.TrimSpace(name) == s.Cluster {
			return true, nil
		}
	}
	return false, nil
}
