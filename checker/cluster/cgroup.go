package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// cgroup is where a container's resources are accounted, seen from its node:
// one folder, or on a host of the old kind one for each controller.
type cgroup struct {
	s    *Session
	node string
	dirs []string
}

func (s *Session) cgroup(ctx context.Context, p *corev1.Pod, container string) (*cgroup, error) {
	for _, c := range p.Status.ContainerStatuses {
		_, id, ok := strings.Cut(c.ContainerID, "://")
		if c.Name != container || !ok {
			continue
		}
		out, err := s.onNode(ctx, p.Spec.NodeName, "find", "/sys/fs/cgroup", "-type", "d", "-name", "*"+id+"*")
		if err != nil {
			return nil, err
		}
		dirs := strings.Fields(out)
		if len(dirs) == 0 {
			return nil, fmt.Errorf("no cgroup of pod %s on %s", p.Name, p.Spec.NodeName)
		}
		return &cgroup{s, p.Spec.NodeName, dirs}, nil
	}
	return nil, fmt.Errorf("pod %s: container %s does not run", p.Name, container)
}

// cat reads the first of the files that is there.
func (g *cgroup) cat(ctx context.Context, files ...string) (string, error) {
	var tries []string
	for _, f := range files {
		for _, dir := range g.dirs {
			tries = append(tries, fmt.Sprintf("cat '%s/%s' 2>/dev/null", dir, f))
		}
	}
	return g.s.onNode(ctx, g.node, "sh", "-c", strings.Join(tries, " || "))
}

// kill sends SIGKILL to the container's processes.
func (g *cgroup) kill(ctx context.Context) error {
	out, err := g.cat(ctx, "cgroup.procs")
	if err != nil {
		return err
	}
	pids := strings.Fields(out)
	if len(pids) == 0 {
		return errors.New("the container has no process")
	}
	_, err = g.s.onNode(ctx, g.node, "sh", "-c", "kill -9 "+strings.Join(pids, " "))
	return err
}

// peak is the most memory that the container had, page cache and all. A kernel
// before 5.19 does not keep it for the new kind of cgroup.
func (g *cgroup) peak(ctx context.Context) (bytes float64, ok bool) {
	out, err := g.cat(ctx, "memory.peak", "memory.max_usage_in_bytes")
	if err != nil {
		return 0, false
	}
	_, err = fmt.Sscan(out, &bytes)
	return bytes, err == nil
}

// own is the memory that belongs to the program alone, now.
func (g *cgroup) own(ctx context.Context) (bytes float64, ok bool) {
	out, err := g.cat(ctx, "memory.stat")
	if err != nil {
		return 0, false
	}
	if bytes, ok = field(out, "anon"); !ok {
		bytes, ok = field(out, "total_rss")
	}
	return bytes, ok
}

// kills is how often the kernel killed in this cgroup for want of memory.
func (g *cgroup) kills(ctx context.Context) (n float64, ok bool) {
	out, err := g.cat(ctx, "memory.events", "memory.oom_control")
	if err != nil {
		return 0, false
	}
	return field(out, "oom_kill")
}

// field reads one line of a table of names and figures.
func field(table, name string) (n float64, ok bool) {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) == 2 && f[0] == name {
			_, err := fmt.Sscan(f[1], &n)
			return n, err == nil
		}
	}
	return 0, false
}
