package candidate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"pitstop/checker/verdict"
)

// inFolder reports whether a sub-folder belongs to the lesson: one that the
// learner may rearrange, or one on the way to a pristine file.
func (c *Candidate) inFolder(name string) bool {
	if c.Lesson.Editable(name + "/") {
		return true
	}
	for f := range c.Lesson.Files {
		if strings.HasPrefix(f, name+"/") {
			return true
		}
	}
	return false
}

// folder takes note of a sub-folder that is not the lesson's, and reports
// whether it stands where a file of the learner's should.
func (c *Candidate) folder(name string) bool {
	switch {
	case slices.Contains(c.Lesson.Edit, name):
		c.problem("policy.symlink", name, "%s is a folder, not a plain file; put the file itself there", name)
		return true
	case name == "vendor":
		c.warn("%s/vendor is without effect: the checker takes modules as the workshop's go.mod names them", c.Lesson.Folder())
	}
	return false
}

// add takes note of one file. What cannot be read is the learner's to mend.
func (c *Candidate) add(p, name string, d fs.DirEntry) {
	l := c.Lesson
	pristine, known := l.Files[name]
	base := path.Base(name)
	switch {
	case !known && name == base && strings.ContainsAny(name[:1], "._"):
		c.Hidden = append(c.Hidden, name) // an editor's lock or copy, which Go does not build either
	case l.Editable(name) && !d.Type().IsRegular():
		c.problem("policy.symlink", name, "%s is a %s, not a plain file; put the file itself there", name, kindOf(d.Type()))
	case l.Editable(name):
		b, err := read(p)
		switch {
		case errors.Is(err, errTooLarge):
			c.problem("policy.size", name, "%s is over %d MiB; no mend is that long", name, maxFile>>20)
		case errors.Is(err, fs.ErrPermission):
			c.problem("candidate.unreadable", name, "%s cannot be read: permission denied; give yourself the right to (chmod u+r %s/%s)", name, l.Folder(), name)
		case err != nil:
			c.problem("candidate.unreadable", name, "%s cannot be read: %v; save it again, or `bin/checker reset %02d` puts the lesson's file back", name, cause(err), l.Number)
		default:
			c.Files[name] = b
		}
	case known:
		b, err := read(p)
		if err != nil || !d.Type().IsRegular() || !bytes.Equal(plain(b), plain(pristine)) {
			c.warn("%s/%s was changed; the change is without effect (`bin/checker reset %02d` puts the file back)", l.Folder(), name, l.Number)
		}
	case d.Type()&fs.ModeSymlink != 0 && c.inFolder(name):
		c.problem("policy.symlink", name, "%s is a symbolic link, not a plain folder; put the folder itself there", name)
	case path.Dir(name) == "." && path.Ext(name) == ".go":
		c.Hidden = append(c.Hidden, name)
		c.warn("%s/%s is not part of the lesson and is not run by the checker", l.Folder(), name)
	case base == "go.mod" || base == "go.work" || slices.Contains(foreign, path.Ext(name)):
		c.Hidden = append(c.Hidden, name)
		c.warn("%s/%s is without effect: a lesson is one package of the workshop's module, in Go alone", l.Folder(), name)
	}
}

// foreign are the other languages' files that the go command would build.
var foreign = []string{".s", ".S", ".sx", ".c", ".cc", ".cpp", ".cxx", ".m", ".h", ".hh", ".hpp", ".hxx", ".f", ".F", ".for", ".f90", ".swig", ".swigcxx", ".syso"}

var (
	errTooLarge = errors.New("too large")
	errSpecial  = errors.New("not a plain file")
)

// read reads a plain file, and never waits: what looks like a file in a
// listing may be a pipe by now, or lead to one.
func read(p string) ([]byte, error) {
	f, err := os.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errSpecial
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		return nil, errTooLarge
	}
	return b, err
}

// cause is an error without the path, which the sentence names already.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// plain takes away what a Windows checkout adds: line ends and a byte order mark.
func plain(b []byte) []byte {
	return bytes.ReplaceAll(bytes.TrimPrefix(b, []byte("\ufeff")), []byte("\r\n"), []byte("\n"))
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeDevice != 0:
		return "device"
	default:
		return "special file"
	}
}

func (c *Candidate) warn(format string, args ...any) {
	c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...))
}

func (c *Candidate) problem(code, name, format string, args ...any) {
	f := verdict.Finding{Code: code, Message: fmt.Sprintf(format, args...), Stage: verdict.StagePolicy}
	if name != "" {
		f.File = path.Join(c.Lesson.Folder(), name)
	}
	c.Problems = append(c.Problems, f)
}
