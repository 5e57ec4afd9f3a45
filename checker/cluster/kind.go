package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

var upSteps = []Step{
	{"cluster", "a cluster of the nodes in kind.yaml, in containers; one that is there is taken as it is", (*Session).create, true},
	{"nodes", "wait until every node is ready, and see where pods may run", (*Session).nodesReady, false},
}

var downSteps = []Step{
	{"cluster", "take the cluster away, and what is on it", (*Session).remove, false},
}

func (s *Session) create(ctx context.Context, r *Record) error {
	there, err := s.exists(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.kubeconfig()), 0o755); err != nil && os.Getenv("KUBECONFIG") == "" {
		return err
	}
	r.Note("clusters that were there", map[bool]float64{true: 1}[there], "")
	if there {
		r.Say("the cluster %s is there and is used", s.Cluster)
		_, err := s.run(ctx, nil, "kind", "export", "kubeconfig", "--name", s.Cluster)
		return err
	}
	config := s.Config
	if config == "" {
		b, err := s.text("kind.yaml")
		if err != nil {
			return err
		}
		config = filepath.Join(s.Tmp, "kind.yaml")
		if err := os.WriteFile(config, b, 0o600); err != nil {
			return err
		}
	}
	args := []string{"create", "cluster", "--name", s.Cluster, "--config", config, "--wait", "180s"}
	if s.NodeImage != "" {
		args = append(args, "--image", s.NodeImage)
	}
	r.Say("kind create cluster --name %s, kubeconfig %s", s.Cluster, s.kubeconfig())
	if _, err := s.run(ctx, nil, "kind", args...); err != nil {
		return err
	}
	return nil
}

func (s *Session) nodesReady(ctx context.Context, r *Record) error {
	if _, err := s.kubectl(ctx, "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=180s"); err != nil {
		return err
	}
	if _, err := s.kubectl(ctx, "--namespace", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=180s"); err != nil {
		return err
	}
	nodes, err := read[corev1.NodeList](ctx, s, "nodes")
	if err != nil {
		return err
	}
	r.Note("nodes", float64(len(nodes.Items)), "")
	if !r.AtLeast("nodes that pods may run on", float64(len(schedulable(nodes.Items))), 2, "") {
		r.Find("kind.nodes", "Pods have one node to run on. A drain would leave them none, so it cannot be tried; give kind.yaml two nodes of `role: worker`, and run `make kind-down kind-up`.").File = firstOf(s.Config, s.where("kind.yaml"))
	}
	for _, n := range nodes.Items {
		r.Say("%s: %s, Kubernetes %s", n.Name, role(n), n.Status.NodeInfo.KubeletVersion)
	}
	return nil
}

func role(n corev1.Node) string {
	if _, ok := n.Labels[controlPlane]; ok {
		return "control plane"
	}
	return "worker"
}

const controlPlane = "node-role.kubernetes.io/control-plane"

// schedulable returns the nodes that take pods without a toleration.
func schedulable(nodes []corev1.Node) []string {
	var names []string
	for _, n := range nodes {
		closed := n.Spec.Unschedulable
		for _, t := range n.Spec.Taints {
			closed = closed || t.Effect != corev1.TaintEffectPreferNoSchedule
		}
		if !closed {
			names = append(names, n.Name)
		}
	}
	return names
}

func (s *Session) remove(ctx context.Context, r *Record) error {
	there, err := s.exists(ctx)
	if err != nil {
		return err
	}
	r.Note("clusters that were there", map[bool]float64{true: 1}[there], "")
	_, err = s.run(ctx, nil, "kind", "delete", "cluster", "--name", s.Cluster)
	return err
}

// found makes sure that the cluster is there before anything is asked of it.
func (s *Session) found(ctx context.Context) error {
	there, err := s.exists(ctx)
	if err == nil && !there {
		err = errors.New("kind has no cluster named " + s.Cluster + "; run `make kind-up`")
	}
	return err
}

// load brings images from docker to every node.
func (s *Session) load(ctx context.Context, refs ...string) error {
	archive := filepath.Join(s.Tmp, "images.tar")
	defer os.Remove(archive)
	if _, err := s.run(ctx, nil, "docker", append([]string{"save", "--output", archive}, refs...)...); err != nil {
		return err
	}
	_, err := s.run(ctx, nil, "kind", "load", "image-archive", archive, "--name", s.Cluster)
	return err
}

// onNode runs a command in a node.
func (s *Session) onNode(ctx context.Context, node string, args ...string) (string, error) {
	out, err := s.run(ctx, nil, "docker", append([]string{"exec", node}, args...)...)
	return strings.TrimSpace(out), err
}
