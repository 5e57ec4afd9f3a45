package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// filled is what fill did. Dropped counts the photos after which no answer
// came: the process at the other end has most likely died.
type filled struct {
	Type     string         `json:"type"`
	Put      int            `json:"put"` // MiB taken
	Refused  int            `json:"refused"`
	Dropped  int            `json:"dropped"`
	Failures map[string]int `json:"failures,omitempty"`
	Seconds  float64        `json:"seconds"`
}

// fill sends pictures of 1 MiB each, in turn a photo of a parcel and a document
// with a label in it, every one under a name of its own. It goes on after a
// refusal, and gives up after -drops in a row without an answer.
func fill(ctx context.Context, args []string, _ io.Reader, out io.Writer) error {
	f := flags("fill")
	base := f.String("url", "", "where the service is")
	mib := f.Int("mib", 256, "how many pictures of 1 MiB")
	drops := f.Int("drops", 3, "give up after so many in a row without an answer")
	prefix := f.String("prefix", "fill", "what their names begin with")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *base == "" {
		return errors.New("fill: -url is needed")
	}
	photo := make([]byte, 1<<20)
	if _, err := rand.Read(photo); err != nil {
		return err
	}
	client := &http.Client{Timeout: 20 * time.Second}
	r := filled{Type: "fill", Failures: map[string]int{}}
	begin := time.Now()
	for i, inARow := 0, 0; i < *mib && inARow < *drops && ctx.Err() == nil; i++ {
		method, path := http.MethodPut, fmt.Sprintf("/photos/%s-%d", *prefix, i)
		if i%2 == 1 {
			method, path = http.MethodPost, "/labels"
			copy(photo, fmt.Sprintf("%%%%LABEL:PARCEL-%07dDEPOT-NORTH-GATE-4", i))
		}
		req, err := http.NewRequestWithContext(ctx, method, *base+path, bytes.NewReader(photo))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "image/jpeg")
		resp, err := client.Do(req)
		if err != nil {
			inARow++
			r.Dropped++
			r.Failures[reason(err)]++
			continue
		}
		inARow = 0
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode < 300 {
			r.Put++
			continue
		}
		r.Refused++
		r.Failures[resp.Status]++
	}
	r.Seconds = time.Since(begin).Seconds()
	return json.NewEncoder(out).Encode(r)
}
