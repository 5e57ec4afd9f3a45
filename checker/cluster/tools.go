package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Lack is a tool that is not there, and how to get it.
type Lack struct{ Tool, How string }

func (l Lack) String() string { return l.Tool + ": " + l.How }

var ways = map[string]string{
	"docker":  "not on PATH; install Docker (Debian, Ubuntu: apt-get install docker.io; macOS: Docker Desktop or colima; https://docs.docker.com/engine/install)",
	"kind":    "not on PATH; go install sigs.k8s.io/kind@latest, and put $(go env GOPATH)/bin on PATH",
	"kubectl": "not on PATH; https://kubernetes.io/docs/tasks/tools, the version of your cluster or one beside it",
}

// Missing says which of the tools cannot be used here, and how to change that.
func Missing(ctx context.Context, tools ...string) []Lack {
	var lacks []Lack
	for _, t := range tools {
		if _, err := exec.LookPath(t); err != nil {
			lacks = append(lacks, Lack{t, ways[t]})
			continue
		}
		if t != "docker" {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if out, err := exec.CommandContext(ctx, "docker", "version", "--format", "{{.Server.Version}}").CombinedOutput(); err != nil {
			lacks = append(lacks, Lack{t, fmt.Sprintf("the engine does not answer (%s); start Docker, and be allowed to use it (Linux: a member of the group docker)", lastLine(string(out)))})
		}
	}
	return lacks
}

// run runs a tool and returns its standard output. An error holds what it
// printed on the other one.
func (s *Session) run(ctx context.Context, in io.Reader, name string, args ...string) (string, error) {
	cmd := s.command(ctx, name, args...)
	cmd.Stdin = in
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err == nil {
		return stdout.String(), nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	said := strings.TrimSpace(stderr.String())
	if said == "" {
		said = strings.TrimSpace(stdout.String())
	}
	return stdout.String(), &toolError{tool: name, what: summary(args), said: said, err: err}
}

func (s *Session) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.kubeconfig(), "SOURCE_DATE_EPOCH="+fmt.Sprint(epoch.Unix()))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// toolError is a tool that did not do what it was asked.
type toolError struct {
	tool, what, said string
	err              error
}

func (e *toolError) Error() string {
	return fmt.Sprintf("%s %s: %s", e.tool, e.what, firstOf(lastLines(e.said, 4), e.err.Error()))
}
func (e *toolError) Unwrap() error { return e.err }

// said is what a tool printed before it failed.
func said(err error) string {
	if e, ok := errors.AsType[*toolError](err); ok {
		return e.said
	}
	return err.Error()
}

// kubectl runs kubectl on this session's cluster.
func (s *Session) kubectl(ctx context.Context, args ...string) (string, error) {
	return s.run(ctx, nil, "kubectl", s.onCluster(args)...)
}

func (s *Session) onCluster(args []string) []string {
	return append([]string{"--context", "kind-" + s.Cluster}, args...)
}

// read asks kubectl for an object, or a list of them, as JSON.
func read[T any](ctx context.Context, s *Session, args ...string) (*T, error) {
	out, err := s.kubectl(ctx, append(append([]string{"get"}, args...), "-o", "json")...)
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		return nil, fmt.Errorf("kubectl get %s: %w", strings.Join(args, " "), err)
	}
	return v, nil
}

// follow watches an object with kubectl and calls see for each state, until
// the returned function is called, which waits for the last call to end.
func follow[T any](ctx context.Context, s *Session, see func(event string, v *T), args ...string) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := s.command(ctx, "kubectl", s.onCluster(append(append([]string{"get"}, args...), "--watch", "--output-watch-events", "-o", "json"))...)
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	done := make(chan struct{})
	first := make(chan struct{})
	go func() {
		defer close(done)
		dec := json.NewDecoder(pipe)
		for begun := false; ; begun = true {
			var e struct {
				Type   string `json:"type"`
				Object *T     `json:"object"`
			}
			if dec.Decode(&e) != nil {
				break
			}
			see(e.Type, e.Object)
			if !begun {
				close(first)
			}
		}
		_ = cmd.Wait()
	}()
	select {
	case <-first:
	case <-done:
	case <-time.After(10 * time.Second): // nothing to see yet
	}
	return func() {
		cancel()
		<-done
	}, nil
}

// apply sends objects to the cluster as the workshop's own.
func (s *Session) apply(ctx context.Context, manifests []byte) error {
	_, err := s.run(ctx, bytes.NewReader(manifests), "kubectl",
		s.onCluster([]string{"apply", "--server-side", "--force-conflicts", "--field-manager=" + manager, "-f", "-"})...)
	return err
}

// manager is under which name the cluster keeps who set a field.
const manager = "pitstop"

// summary is enough of a command line to recognise it.
func summary(args []string) string {
	if len(args) > 2 && args[0] == "--context" {
		args = args[2:]
	}
	if len(args) > 8 {
		args = append(append([]string{}, args[:8]...), "…")
	}
	return strings.Join(args, " ")
}

func lastLine(s string) string { return lastLines(s, 1) }

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
