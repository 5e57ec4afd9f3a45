// Package wire is the form in which findings and evidence travel from a test
// to whoever reads its event stream: test attributes with a JSON value.
package wire

// Attribute keys.
const (
	FindingKey  = "pitstop.finding"
	EvidenceKey = "pitstop.evidence"
)

// Finding is what a test found wrong.
type Finding struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Evidence is one measurement. Bound is "max", "min" or "equal"; it is empty
// for a figure without a limit.
type Evidence struct {
	Name  string   `json:"name"`
	Unit  string   `json:"unit,omitempty"`
	Now   float64  `json:"now"`
	Limit *float64 `json:"limit,omitempty"`
	Bound string   `json:"bound,omitempty"`
}
