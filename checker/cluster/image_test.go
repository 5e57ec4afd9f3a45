package cluster

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFetches_NamesWhatComesFromElsewhere(t *testing.T) {
	for _, c := range []struct {
		name, dockerfile string
		want             []string
	}{
		{"scratch alone", "FROM scratch\nCOPY dispatchd /dispatchd\n", nil},
		{"a base image", "# a comment\nFROM --platform=linux/amd64 alpine:3\n", []string{"2 the image alpine:3"}},
		{"stages of its own", "FROM scratch AS one\nCOPY a /a\nFROM one\nCOPY --from=0 /a /b\nCOPY --from=ONE /a /b\n", nil},
		{"a stage of another image", "from scratch\ncopy --from=busybox:1 /bin/sh /bin/sh\n", []string{"2 the image busybox:1"}},
		{"a frontend", "# syntax=docker/dockerfile:1\nFROM scratch\n", []string{"1 the frontend docker/dockerfile:1"}},
		{"a file from the network", "FROM scratch\nADD https://example.com/ca.pem /etc/ca.pem\n", []string{"2 https://example.com/ca.pem"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, f := range fetches([]byte(c.dockerfile)) {
				got = append(got, string(rune('0'+f.Line))+" "+f.What)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("fetches %q, want %q", got, c.want)
			}
		})
	}
}

// good is an image as it should be; change makes it worse.
func good(change func(*built, *[]file)) []string {
	b := &built{Version: "v1", Revision: "abc", Sum: "sum"}
	b.Inspect.Config.User = "65532:65532"
	b.Inspect.Config.Entrypoint = []string{"/dispatchd"}
	b.Inspect.Config.Labels = map[string]string{"org.opencontainers.image.version": "v1", "org.opencontainers.image.revision": "abc"}
	files := []file{{Name: "/dispatchd", Mode: 0o755, Sum: "sum"}}
	change(b, &files)
	var codes []string
	for _, w := range judge(b, files) {
		codes = append(codes, w.Code)
	}
	return codes
}

func TestJudge_FindsEachFlawAlone(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*built, *[]file)
		want   string
	}{
		{"as it should be", func(*built, *[]file) {}, ""},
		{"another file", func(_ *built, f *[]file) { *f = append(*f, file{Name: "/Dockerfile"}) }, "image.files"},
		{"another binary", func(_ *built, f *[]file) { (*f)[0].Sum = "other" }, "image.files image.files"},
		{"a binary for its owner only", func(_ *built, f *[]file) { (*f)[0].Mode = 0o700 }, "image.files"},
		{"no user", func(b *built, _ *[]file) { b.Inspect.Config.User = "" }, "image.user"},
		{"root by number", func(b *built, _ *[]file) { b.Inspect.Config.User = "0:65532" }, "image.user"},
		{"a user by name", func(b *built, _ *[]file) { b.Inspect.Config.User = "nonroot" }, "image.user"},
		{"shell form", func(b *built, _ *[]file) { b.Inspect.Config.Entrypoint = []string{"/bin/sh", "-c", "/dispatchd"} }, "image.entrypoint"},
		{"CMD alone", func(b *built, _ *[]file) {
			b.Inspect.Config.Entrypoint, b.Inspect.Config.Cmd = nil, []string{"/dispatchd"}
		}, "image.entrypoint"},
		{"nothing to start", func(b *built, _ *[]file) { b.Inspect.Config.Entrypoint = nil }, "image.entrypoint"},
		{"another path", func(b *built, _ *[]file) { b.Inspect.Config.Entrypoint = []string{"/bin/dispatchd"} }, "image.entrypoint"},
		{"a path from the working directory", func(b *built, _ *[]file) {
			b.Inspect.Config.Entrypoint, b.Inspect.Config.WorkingDir = []string{"./dispatchd"}, "/"
		}, ""},
		{"no version", func(b *built, _ *[]file) { delete(b.Inspect.Config.Labels, "org.opencontainers.image.version") }, "image.label"},
		{"an empty revision", func(b *built, _ *[]file) { b.Inspect.Config.Labels["org.opencontainers.image.revision"] = "" }, "image.label"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(good(c.change), " "); got != c.want {
				t.Errorf("finds %q, want %q", got, c.want)
			}
		})
	}
}

func TestDifferences_IgnoreTheTimeOfTheBuildOnly(t *testing.T) {
	one := func() (i inspected) {
		i.ID, i.Os, i.Arch = "sha256:1", "linux", "amd64"
		i.RootFS.Layers = []string{"sha256:a"}
		i.Config.Labels = map[string]string{"version": "v1"}
		return i
	}
	a, b := one(), one()
	b.ID = "sha256:2" // it holds the time
	if d := differences(a, b); len(d) != 0 {
		t.Errorf("equal images differ in %q", d)
	}
	b.RootFS.Layers = []string{"sha256:b"}
	b.Config.Labels["version"] = "v2"
	if d := differences(a, b); !slices.Equal(d, []string{"the layers", "the labels"}) {
		t.Errorf("differ in %q", d)
	}
}

func tarOf(t *testing.T, entries ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		content := []byte(h.PAXRecords["test.content"])
		h.PAXRecords, h.Size = nil, int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func entry(name, content string) *tar.Header {
	return &tar.Header{Name: name, Mode: 0o755, PAXRecords: map[string]string{"test.content": content}}
}

func TestReadImage_ListsTheFilesOfEveryLayer(t *testing.T) {
	plain := tarOf(t, &tar.Header{Name: "app/", Typeflag: tar.TypeDir, Mode: 0o755}, entry("app/dispatchd", "binary"))
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(tarOf(t, entry("./etc/passwd", "root"))); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	manifest, _ := json.Marshal([]map[string]any{{"Layers": []string{"one/layer.tar", "blobs/sha256/two"}}})
	archive := filepath.Join(t.TempDir(), "save.tar")
	all := tarOf(t, entry("one/layer.tar", string(plain)), entry("blobs/sha256/two", zipped.String()), entry("manifest.json", string(manifest)))
	if err := os.WriteFile(archive, all, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readImage(archive)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("binary"))
	want := file{Name: "/app/dispatchd", Mode: 0o755, Size: 6, Sum: hex.EncodeToString(sum[:])}
	if len(got) != 2 || got[0] != want || got[1].Name != "/etc/passwd" {
		t.Errorf("files %+v", got)
	}
}
