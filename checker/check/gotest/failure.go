package gotest

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"pitstop/checker/check"
	"pitstop/checker/lesson"
)

// failLine is what t.Error and t.Log print. Where a program printed without a
// newline before it, it stands in mid-line.
var failLine = regexp.MustCompile(`(?m)(?:^\s+|    )([\w.-]+\.go):(\d+): ?(.*)$`)

// racy is the testing package's own word on a test that raced.
const racy = "race detected during execution of test"

// failure is one message of a test's.
type failure struct {
	name string // of the file within the lesson's folder
	line int
	text string // the first line
	rest []byte // what follows
}

// failures reads what a test said of its failure. Words of t.Log are left
// out, and lines that come from elsewhere than the lesson's files.
func failures(l *lesson.Lesson, review, output []byte) []failure {
	var list []failure
	for _, m := range failLine.FindAllSubmatchIndex(output, -1) {
		f := failure{name: string(output[m[2]:m[3]]), text: strings.TrimSpace(string(output[m[6]:m[7]])), rest: output[m[1]:]}
		f.line, _ = strconv.Atoi(string(output[m[4]:m[5]]))
		src, ours := l.Files[f.name]
		if f.name == check.ReviewName {
			src, ours = review, true
		}
		if ours && !logs(src, f.line) {
			list = append(list, f)
		}
	}
	return list
}

var logCall = regexp.MustCompile(`\.Logf?\(`)

// logs reports whether a line of a source calls t.Log.
func logs(src []byte, line int) bool {
	for i, text := range bytes.Split(src, []byte("\n")) {
		if i+1 == line {
			return logCall.Match(text)
		}
	}
	return false
}

var testifyKey = regexp.MustCompile(`^\s+\t(Error Trace|Error|Test|Messages):\s*(.*)$`)

// sentence is what a failure says. Testify puts its word on the lines that
// follow, under keys.
func (f failure) sentence() string {
	if f.text != "" {
		return clip(f.text)
	}
	var key, diff string
	said := map[string][]string{}
	for line := range strings.Lines(string(f.rest)) {
		line = strings.TrimRight(line, "\r\n")
		if failLine.MatchString(line) {
			break
		}
		m := testifyKey.FindStringSubmatch(line)
		text := strings.TrimSpace(line)
		switch {
		case m != nil:
			key, text = m[1], strings.TrimSpace(m[2])
		case key == "" && text != "":
			return clip(text) // a message that begins with a newline
		case strings.HasPrefix(text, "Diff:"):
			diff = text
		}
		if text != "" && diff == "" && len(said[key]) < 4 {
			said[key] = append(said[key], strings.Join(strings.Fields(text), " "))
		}
		if m != nil {
			diff = ""
		}
	}
	message := strings.ReplaceAll(strings.Join(said["Error"], ", "), ":, ", ": ")
	message = strings.ReplaceAll(message, " : ", ": ")
	if note := strings.Join(said["Messages"], " "); note != "" {
		message += " (" + note + ")"
	}
	return clip(message)
}

// clip keeps a sentence to what a person reads; all of it is in the detail.
func clip(s string) string {
	const most = 400
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most]) + " …"
}
