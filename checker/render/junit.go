package render

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

type (
	suites struct {
		XMLName  xml.Name `xml:"testsuites"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Errors   int      `xml:"errors,attr"`
		Skipped  int      `xml:"skipped,attr"`
		Suites   []suite  `xml:"testsuite"`
	}
	suite struct {
		Name     string `xml:"name,attr"`
		Tests    int    `xml:"tests,attr"`
		Failures int    `xml:"failures,attr"`
		Errors   int    `xml:"errors,attr"`
		Skipped  int    `xml:"skipped,attr"`
		Time     string `xml:"time,attr"`
		Cases    []kase `xml:"testcase"`
	}
	kase struct {
		Name    string   `xml:"name,attr"`
		Class   string   `xml:"classname,attr"`
		Time    string   `xml:"time,attr"`
		Failure *problem `xml:"failure,omitempty"`
		Error   *problem `xml:"error,omitempty"`
		Skipped *problem `xml:"skipped,omitempty"`
	}
	problem struct {
		Type    string `xml:"type,attr,omitempty"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes one suite a lesson and one case a verdict, which is what
// build servers and learning platforms read.
func JUnit(w io.Writer, lessons []*lesson.Lesson, verdicts map[string]verdict.Verdict) error {
	var all suites
	for _, l := range lessons {
		v, ok := verdicts[l.Slug]
		if !ok {
			continue
		}
		c := kase{Name: l.Title, Class: l.Slug, Time: fmt.Sprintf("%.3f", v.Seconds)}
		s := suite{Name: l.Slug, Tests: 1, Time: c.Time}
		p := &problem{Message: Headline(v), Text: lines(v)}
		if len(v.Findings) > 0 {
			p.Type = v.Findings[0].Code
		}
		switch v.Outcome {
		case verdict.Fail:
			c.Failure, s.Failures = p, 1
		case verdict.Error:
			c.Error, s.Errors = p, 1
		case verdict.Skip:
			c.Skipped, s.Skipped = p, 1
		}
		s.Cases = []kase{c}
		all.Suites = append(all.Suites, s)
		all.Tests++
		all.Failures += s.Failures
		all.Errors += s.Errors
		all.Skipped += s.Skipped
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func lines(v verdict.Verdict) string {
	var b strings.Builder
	for _, f := range v.Findings {
		fmt.Fprintf(&b, "%s: %s", f.Code, f.Message)
		if where := place(f); where != "" {
			fmt.Fprintf(&b, " [%s]", where)
		}
		b.WriteString("\n")
	}
	return b.String()
}
