// Package dispatchd is the whole service: the packages of all lessons, put
// together. What they are made of is in service.go, what they answer in
// routes.go, and wiring.go starts them and stops them. Only that last file is
// the lesson's to mend, with the Dockerfile and the cluster's shape.
package dispatchd

import (
	"context"
	"fmt"
	"net"
	"os"
)

// Main runs dispatchd as the environment says and returns the exit status: 0
// after a shutdown that left nothing undone.
func Main(version string) int {
	settings, err := ReadSettings(os.LookupEnv)
	if err != nil {
		return fail(err)
	}
	s, err := New(settings, version)
	if err != nil {
		return fail(err)
	}
	if settings.MeasureAddr != "" {
		if err := serveMeasure(settings.MeasureAddr); err != nil {
			return fail(err)
		}
	}
	if err := s.Run(context.Background()); err != nil {
		return fail(err)
	}
	fmt.Println("stopped")
	return 0
}

func fail(err error) int {
	fmt.Println("dispatchd:", err)
	return 1
}

// Listen opens a port and says which, in a line on the standard output.
func Listen(name, addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s port: %w", name, err)
	}
	announce(name, ln.Addr())
	return ln, nil
}

// announce says where a port is: whoever starts dispatchd on port 0 reads it.
func announce(name string, addr net.Addr) { fmt.Println("listening", name, addr) }
