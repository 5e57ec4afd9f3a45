// Package manifests holds how dispatchd is run on Kubernetes: the files in
// deploy, and what is true of the program, which the files must agree with.
//
// The files are the lesson's to change. The facts are not: they are the
// program's side of the bargain.
package manifests

import "time"

// Deploy is the folder of the files, beside this one. Its layout is free: any
// number of files, in any order, plain or with kustomize.
const Deploy = "deploy"

// Name is that of the program, its container and its image.
const Name = "dispatchd"

// The ports that dispatchd listens on. The first two are for customers. The
// last is bound to 127.0.0.1, for pprof and the status page: nothing outside
// the pod reaches it, the kubelet included, and port-forward does.
const (
	HTTPPort  = 8080 // orders from the depots, and the health paths
	ScanPort  = 7070 // lines from the hand scanners, over TCP
	AdminPort = 6060
)

// The health paths, plain HTTP on HTTPPort. LivePath says that the process
// turns, and asks nobody else. ReadyPath asks the database as well. Both
// probes are needed: a stuck process is started anew, a cut-off one is spared.
const (
	LivePath  = "/health/live"
	ReadyPath = "/health/ready"
)

const (
	// ReadyTimeout is the time that ReadyPath gives the database before it
	// answers 503. Who asks has to wait longer, or never sees that answer.
	ReadyTimeout = 1 * time.Second

	// NoticeUnready is what the depots were promised: so long after the first
	// 503, at the latest, no new order is sent to that pod.
	NoticeUnready = 15 * time.Second

	// StartTime is the slowest start to plan for, until LivePath answers. A kubelet
	// that gives up earlier restarts the process for ever.
	StartTime = 40 * time.Second

	// StuckTime is the longest pause to bear in a process that is well. A kubelet
	// that gives up earlier makes a slow minute worse.
	StuckTime = 15 * time.Second
)

const (
	// DrainDelay is how long new connections are served after SIGTERM.
	DrainDelay = 5 * time.Second

	// ShutdownBudget is the whole shutdown at its slowest, from SIGTERM to the
	// exit, with DrainDelay in it. A SIGKILL that comes earlier loses orders.
	ShutdownBudget = 25 * time.Second

	// EndpointRemoval is how long after its deletion a pod may still be sent a
	// new connection: nodes and load balancers hear of it one after another.
	EndpointRemoval = 8 * time.Second
)

const (
	// HeapNeeded is what dispatchd needs under full load of what GOMEMLIMIT
	// counts. With a lower limit the collector does little but run.
	HeapNeeded = 96 << 20

	// BesideHeap is what the cgroup counts and GOMEMLIMIT does not: the
	// program's own pages and the kernel's buffers.
	BesideHeap = 16 << 20
)

// The database: a host outside the namespace. The program finds its address,
// with the password in it, in the variable DatabaseEnv, and does not start
// without. The Secret is made by hand in the cluster and is in no file.
const (
	DatabaseEnv       = "DATABASE_URL"
	DatabasePort      = 5432
	DatabaseNamespace = "data"     // its label kubernetes.io/metadata.name says so too
	DatabaseApp       = "postgres" // the value of the pods' label app
)

// Some choices are allowed where somebody says why. The reason is the value of
// an annotation of the Deployment or of its pod template.
const (
	// WhyCPULimit excuses a CPU limit. It throttles a pod while cores idle.
	WhyCPULimit = "dispatchd/why-cpu-limit"

	// WhyMemoryBurst excuses a memory request below the limit. A node that
	// runs full kills such a pod first.
	WhyMemoryBurst = "dispatchd/why-memory-burst"
)

// Also true: the image is built FROM scratch. It has one file, dispatchd, and
// USER 65532; no shell, no sleep. The program writes nothing to disk, needs
// nothing prepared before it starts, reads only GOMEMLIMIT about its memory,
// and never talks to Kubernetes.
