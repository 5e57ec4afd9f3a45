package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// withPprof turns the profiles on in one pod, not in the Deployment.
func withPprof(c *corev1.Container) {
	c.Env = append(c.Env, corev1.EnvVar{Name: "ENABLE_PPROF", Value: "true"})
}

var (
	forwarding = regexp.MustCompile(`^Forwarding from (127\.0\.0\.1:[0-9]+) ->`)
	goroutines = regexp.MustCompile(`^goroutine profile: total ([0-9]+)`)
)

func (s *Session) verifyProfile(ctx context.Context, r *Record) error {
	pod, remove, err := s.duplicate(ctx, r, Name+"-profile", withPprof, ready)
	if err != nil {
		return err
	}
	defer remove()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r.Say("kubectl port-forward pod/%s :%d", pod.Name, adminPort)
	cmd := s.command(ctx, "kubectl", s.onCluster([]string{"--namespace", pod.Namespace, "port-forward", "pod/" + pod.Name, fmt.Sprintf(":%d", adminPort)})...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	defer func() {
		cancel()
		_ = cmd.Wait()
	}()
	addr := ""
	for lines := bufio.NewScanner(pipe); addr == "" && lines.Scan(); {
		if m := forwarding.FindStringSubmatch(lines.Text()); m != nil {
			addr = m[1]
		}
	}
	if addr == "" {
		return fmt.Errorf("kubectl port-forward: %s", lastLine(stderr.String()))
	}
	text, err := fetchURL(ctx, "http://"+addr+"/debug/pprof/goroutine?debug=1")
	if err != nil {
		r.Find("profile.none", "The admin port gives no profile: %v. With ENABLE_PPROF=true pprof answers on 127.0.0.1:%d of the pod (lesson 15).", err, adminPort)
		return nil
	}
	m := goroutines.FindStringSubmatch(firstOf(firstLineOf(string(text)), ""))
	if m == nil {
		r.Find("profile.none", "What the admin port gives is no goroutine profile: %q.", tail(firstLineOf(string(text)), 80))
		return nil
	}
	n, _ := strconv.Atoi(m[1])
	r.Note("goroutines", float64(n), "")
	proto, err := fetchURL(ctx, "http://"+addr+"/debug/pprof/goroutine")
	if err != nil {
		return err
	}
	file := filepath.Join(s.Tmp, "goroutine.pb.gz")
	if err := os.WriteFile(file, proto, 0o600); err != nil {
		return err
	}
	top, err := s.Tool.Command(ctx, s.Workshop.Root, "tool", "pprof", "-top", "-nodecount=3", file)
	if err != nil {
		return fmt.Errorf("go tool pprof: %s", lastLine(top))
	}
	r.Note("profile", float64(len(proto)), "B")
	for line := range strings.Lines(top) {
		if strings.Contains(line, "%") && !strings.HasPrefix(line, "Showing") && !strings.Contains(line, "flat%") {
			r.Say("go tool pprof -top: %s", strings.TrimSpace(line))
			break
		}
	}
	return nil
}

func fetchURL(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, 8<<20))
}

// look starts a debugging container in a running pod, with the outside
// program in it, since dispatchd's own image has nothing to look with. The
// container sees the target's network, and its processes. A pod keeps such a
// container until it is deleted.
func (s *Session) look(ctx context.Context, pod *corev1.Pod, args ...string) ([]answer, error) {
	name := fmt.Sprintf("look-%d", time.Now().UnixNano()%1e9)
	_, err := s.kubectl(ctx, append([]string{"--namespace", pod.Namespace, "debug", pod.Name, "--image", s.outside, "--target", s.service.container,
		"--profile", "restricted", "--image-pull-policy", "IfNotPresent", "--container", name, "--quiet", "--", "/outside"}, args...)...)
	if err != nil {
		return nil, err
	}
	err = poll(ctx, time.Minute, func() (bool, error) {
		p, err := read[corev1.Pod](ctx, s, "--namespace", pod.Namespace, "pod", pod.Name)
		if err != nil {
			return false, err
		}
		for _, c := range p.Status.EphemeralContainerStatuses {
			switch {
			case c.Name != name:
			case c.State.Terminated != nil:
				return true, nil
			case c.State.Waiting != nil && c.State.Waiting.Message != "":
				return false, errors.New(c.State.Waiting.Message)
			}
		}
		return false, nil
	})
	if err != nil {
		return nil, fmt.Errorf("the debugging container does not run: %w", err)
	}
	out, err := s.kubectl(ctx, "--namespace", pod.Namespace, "logs", pod.Name, "--container", name)
	if err != nil {
		return nil, err
	}
	return answers(out)
}

func (s *Session) verifyDebug(ctx context.Context, r *Record) error {
	pod, remove, err := s.duplicate(ctx, r, Name+"-debug", withPprof, ready)
	if err != nil {
		return err
	}
	defer remove()
	r.Say("kubectl debug %s --target %s --profile restricted --image %s", pod.Name, s.service.container, s.outside)
	live := fmt.Sprintf("http://127.0.0.1:%d/health/live", httpPort)
	admin := fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/", adminPort)
	seen, err := s.look(ctx, pod, "get", "-ps", live, admin)
	if err != nil {
		if refused := said(err); strings.Contains(refused, "forbidden") || strings.Contains(refused, "disabled") {
			return skip("the cluster does not allow it: %s", lastLine(refused))
		}
		return err
	}
	processes := 0
	for _, a := range seen {
		switch {
		case a.PID != 0:
			r.Say("process %d: %s", a.PID, a.Command)
			if strings.Contains(a.Command, Name) {
				processes++
			}
		default:
			r.Say("%s: %s", a.URL, a)
			if a.Status != http.StatusOK {
				r.Find("debug.port", "From inside the pod, %s gives %s.", a.URL, a)
			}
		}
	}
	if !r.AtLeast("processes of dispatchd's that are seen", float64(processes), 1, "") {
		r.Find("debug.process", "The debugging container does not see the program's process, although it targets its container.")
	}
	return nil
}
