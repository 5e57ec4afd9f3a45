package check

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	"pitstop/checker/candidate"
	"pitstop/checker/verdict"
)

var compileLine = regexp.MustCompile(`(?m)^(?:vet: )?(\S+\.go):(\d+)(?::\d+)?: (.+)$`)

// CompileFindings reads the compiler's word. Nothing found means that the
// build failed for a reason that is not in the learner's files: the lesson as
// it was shipped is not theirs.
func CompileFindings(c *candidate.Candidate, output string) []verdict.Finding {
	l := c.Lesson
	if c.Untouched() {
		return nil
	}
	var found []verdict.Finding
	for _, p := range c.Parts {
		if broken := CompileFindings(p, output); len(broken) > 0 {
			broken[0].Message = fmt.Sprintf("this lesson is built from yours, and %s; mend it there, or `bin/checker reset %02d` puts the lesson's file back", broken[0].Message, p.Lesson.Number)
			return broken[:1]
		}
	}
	for _, m := range compileLine.FindAllStringSubmatch(output, -1) {
		if !strings.Contains(m[1], path.Join("lessons", l.Slug)+"/") || len(found) == 3 {
			continue
		}
		name := path.Base(m[1])
		line, _ := strconv.Atoi(m[2])
		f := verdict.Finding{Code: "build.compile", Stage: verdict.StageBuild, File: SourceFile(l, name), Line: line}
		switch {
		case strings.HasSuffix(name, "_test.go") && !l.Editable(name):
			f.Message = fmt.Sprintf("the tests do not compile against your package: %s (%s:%d); keep the exported names as the README lists them", m[3], name, line)
		case len(c.Parts) > 0 && !l.Editable(name):
			f.Message = fmt.Sprintf("the service does not compile against your packages: %s (%s:%d); keep the exported names of each lesson as its README lists them", m[3], name, line)
		default:
			f.Message = fmt.Sprintf("%s does not compile: line %d: %s", name, line, m[3])
		}
		found = append(found, f)
	}
	return found
}
