package cluster

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// file is one file of an image: all but folders.
type file struct {
	Name string // as /dispatchd
	Mode os.FileMode
	Size int64
	Sum  string // SHA-256
}

// filesOf lists what is in an image's layers.
func (s *Session) filesOf(ctx context.Context, ref string) ([]file, error) {
	tmp := filepath.Join(s.Tmp, "save.tar")
	if _, err := s.run(ctx, nil, "docker", "save", "--output", tmp, ref); err != nil {
		return nil, err
	}
	defer os.Remove(tmp)
	return readImage(tmp)
}

// readImage lists what is in the layers of an image that docker save wrote, in
// its older form or in that of the Open Container Initiative.
func readImage(archive string) ([]file, error) {
	parts, err := members(archive)
	if err != nil {
		return nil, err
	}
	var images []struct{ Layers []string }
	if err := json.Unmarshal(parts["manifest.json"], &images); err != nil || len(images) != 1 {
		return nil, fmt.Errorf("docker save: a manifest of %d images: %w", len(images), err)
	}
	var files []file
	for _, name := range images[0].Layers {
		more, err := layer(parts[name])
		if err != nil {
			return nil, fmt.Errorf("docker save: layer %s: %w", name, err)
		}
		files = append(files, more...)
	}
	return files, nil
}

func members(archive string) (map[string][]byte, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	parts := map[string][]byte{}
	for t := tar.NewReader(bufio.NewReader(f)); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return parts, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeSymlink { // a layer that stands for another
			parts[h.Name] = parts[path.Join(path.Dir(h.Name), h.Linkname)]
			continue
		}
		if parts[h.Name], err = io.ReadAll(t); err != nil {
			return nil, err
		}
	}
}

func layer(b []byte) ([]file, error) {
	var in io.Reader = bytes.NewReader(b)
	if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		in = z
	}
	var files []file
	for t := tar.NewReader(in); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, t); err != nil {
			return nil, err
		}
		files = append(files, file{
			Name: "/" + strings.TrimPrefix(path.Clean(h.Name), "/"), Mode: os.FileMode(h.Mode).Perm(),
			Size: h.Size, Sum: hex.EncodeToString(sum.Sum(nil)),
		})
	}
}

// fetch is what a line of a Dockerfile takes from elsewhere.
type fetch struct {
	Line int
	What string
}

// fetches lists what a Dockerfile would fetch: base images that are not
// scratch, stages of others, files from the network, a frontend.
func fetches(dockerfile []byte) []fetch {
	var all []fetch
	stages := map[string]bool{"scratch": true}
	count := 0
	n := 0
	for line := range strings.Lines(string(dockerfile)) {
		n++
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "#"); ok {
			if name, what, ok := strings.Cut(strings.TrimSpace(rest), "="); ok && strings.EqualFold(strings.TrimSpace(name), "syntax") {
				all = append(all, fetch{n, "the frontend " + strings.TrimSpace(what)})
			}
			continue
		}
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		var plain []string
		for _, w := range words[1:] {
			if from, ok := strings.CutPrefix(w, "--from="); ok && !stages[strings.ToLower(from)] && (from < "0" || from > "9") {
				all = append(all, fetch{n, "the image " + from})
			}
			if !strings.HasPrefix(w, "--") {
				plain = append(plain, w)
			}
		}
		switch strings.ToUpper(words[0]) {
		case "FROM":
			if len(plain) > 0 && !stages[strings.ToLower(plain[0])] {
				all = append(all, fetch{n, "the image " + plain[0]})
			}
			if len(plain) > 2 && strings.EqualFold(plain[1], "as") {
				stages[strings.ToLower(plain[2])] = true
			}
			stages[fmt.Sprint(count)] = true
			count++
		case "ADD":
			for _, w := range plain {
				if strings.Contains(w, "://") {
					all = append(all, fetch{n, w})
				}
			}
		}
	}
	return all
}
