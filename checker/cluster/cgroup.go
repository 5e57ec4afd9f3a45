package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// cgroup is where a container's resources are accounted, seen from its node.
type cgroup struct {
	s    *Session
	node string
	dir  string
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
		dir, _, _ := strings.Cut(out, "\n")
		if dir == "" {
			return nil, fmt.Errorf("no cgroup of container %s on %s", id[:12], p.Spec.NodeName)
		}
		return &cgroup{s, p.Spec.NodeName, dir}, nil
	}
	return nil, fmt.Errorf("pod %s: container %s does not run", p.Name, container)
}

// kill sends SIGKILL to the container's processes.
func (g *cgroup) kill(ctx context.Context) error {
	out, err := g.s.onNode(ctx, g.node, "cat", g.dir+"/cgroup.procs")
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

// bytes reads a figure of the cgroup; ok is false where the kernel has none.
func (g *cgroup) bytes(ctx context.Context, file string) (n float64, ok bool) {
	out, err := g.s.onNode(ctx, g.node, "cat", g.dir+"/"+file)
	if err != nil {
		return 0, false
	}
	_, err = fmt.Sscan(out, &n)
	return n, err == nil
}

// field reads one line of a cgroup's table, as oom_kill of memory.events.
func (g *cgroup) field(ctx context.Context, file, name string) (n float64, ok bool) {
	out, err := g.s.onNode(ctx, g.node, "cat", g.dir+"/"+file)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) == 2 && f[0] == name {
			_, err := fmt.Sscan(f[1], &n)
			return n, err == nil
		}
	}
	return 0, false
}
