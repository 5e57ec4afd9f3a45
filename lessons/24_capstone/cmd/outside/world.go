package main

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"os"
	"time"

	"pitstop/lessons/24_capstone/world"
)

// playWorld answers for everything that dispatchd asks, on WORLD_ADDR.
func playWorld(ctx context.Context, _ []string, _ io.Reader, _ io.Writer) error {
	srv := &http.Server{
		Addr:              cmp.Or(os.Getenv("WORLD_ADDR"), ":5432"),
		Handler:           world.New(),
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
