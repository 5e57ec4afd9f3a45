package main

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"pitstop/lessons/24_capstone/world"
)

// playWorld answers for everything that dispatchd asks, on WORLD_ADDR. Parts of
// it can be slow, as the bank is: what waits for them is under way when a
// process is told to end.
func playWorld(ctx context.Context, args []string, _ io.Reader, _ io.Writer) error {
	w := world.New()
	f := flags("world")
	f.Func("slow", "a part and how long it takes, as bank=700ms; may be given again", func(text string) error {
		part, delay, _ := strings.Cut(text, "=")
		d, err := time.ParseDuration(delay)
		w.Set(part, world.Fault{Delay: d})
		return err
	})
	if err := f.Parse(args); err != nil {
		return err
	}
	srv := &http.Server{
		Addr:              cmp.Or(os.Getenv("WORLD_ADDR"), ":5432"),
		Handler:           w,
		ReadHeaderTimeout: 10 * time.Second,
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return srv.Shutdown(ctx)
}
