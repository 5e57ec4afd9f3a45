// Outside is everything on kind that is not dispatchd: the world it depends
// on, and the depots and hands that use it. It is one static program, so that
// one image FROM scratch serves as database, load, probe and debugging tool.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

type command func(ctx context.Context, args []string, in io.Reader, out io.Writer) error

var commands = map[string]command{
	"world": playWorld, // the database, the map, the bank and the telephones
	"load":  drive,     // a bounded load, and a count of what failed
	"get":   get,       // ask URLs once each, http:// or tcp://
	"watch": watch,     // ask one URL over and over, and tell each change
	"fill":  fill,      // send pictures of 1 MiB each
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := errors.New("usage: outside world|load|get|watch|fill [flags]")
	if len(os.Args) > 1 {
		if c, ok := commands[os.Args[1]]; ok {
			err = c(ctx, os.Args[2:], os.Stdin, os.Stdout)
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "outside:", err)
		os.Exit(1)
	}
}

func flags(name string) *flag.FlagSet { return flag.NewFlagSet("outside "+name, flag.ContinueOnError) }
