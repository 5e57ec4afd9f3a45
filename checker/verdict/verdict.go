// Package verdict holds what grading says: outcomes, findings, evidence and
// the events that carry them. It is plain data and imports the standard
// library only, so that the terminal, the JSON stream and the pages can share
// one wire format.
package verdict

// Outcome is the grade of one lesson.
type Outcome string

const (
	Pass  Outcome = "pass"  // every check holds
	Fail  Outcome = "fail"  // the learner's code does not do what the lesson asks
	Error Outcome = "error" // the grader could not grade; never the learner's fault
	Skip  Outcome = "skip"  // something this machine lacks is needed; the finding says what
)

// Stage tells which tests a finding comes from.
type Stage string

const (
	StagePolicy  Stage = "policy"  // read from the syntax tree, before anything ran
	StageBuild   Stage = "build"   // the compiler's or the linker's word
	StageVisible Stage = "visible" // the tests in the lesson's folder
	StageReview  Stage = "review"  // what a careful reviewer tries next
)

// Finding is one thing that is wrong, in a sentence for the learner and with
// a stable code for scripts. File is relative to the workshop's root and uses
// slashes; Line is 1-based and 0 where it is not known.
type Finding struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Test    string `json:"test,omitempty"`
	Stage   Stage  `json:"stage,omitempty"`
	Detail  string `json:"detail,omitempty"` // what was printed: stacks, a race report; many lines
}

// Evidence is one measurement that a test published. Before is the figure of
// the unsolved lesson on the same machine, where it was measured.
type Evidence struct {
	Name   string   `json:"name"`
	Unit   string   `json:"unit,omitempty"`
	Test   string   `json:"test,omitempty"`
	Stage  Stage    `json:"stage,omitempty"`
	Before *float64 `json:"before,omitempty"`
	Now    float64  `json:"now"`
	Limit  *float64 `json:"limit,omitempty"`
	Bound  string   `json:"bound,omitempty"` // max, min, equal
}

// Holds reports whether the figure is within its limit; a figure without a
// limit always is.
func (e Evidence) Holds() bool {
	if e.Limit == nil {
		return true
	}
	switch e.Bound {
	case "min":
		return e.Now >= *e.Limit
	case "equal":
		return e.Now == *e.Limit
	default:
		return e.Now <= *e.Limit
	}
}

// Verdict is the end of one lesson's grading.
type Verdict struct {
	Outcome  Outcome    `json:"outcome"`
	Findings []Finding  `json:"findings"`
	Evidence []Evidence `json:"evidence"`
	Seconds  float64    `json:"seconds"`
}

// Type names the kinds of event.
type Type string

const (
	Start   Type = "start"   // a lesson's grading begins
	Step    Type = "step"    // what is being done now
	Warning Type = "warning" // something the learner should know that changes nothing
	Graded  Type = "verdict" // the end of one lesson
)

// Event is one line of the stream. A lesson's grading is a start, any number
// of steps and warnings, and one verdict, in that order.
type Event struct {
	Type    Type   `json:"type"`
	Lesson  string `json:"lesson,omitempty"`
	Message string `json:"message,omitempty"`
	*Verdict
}
