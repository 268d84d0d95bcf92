package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

// row is one result.
type row struct {
	Name string `json:"name"`
	// Ours and Floor are in Unit. Without a floor, Floor is 0.
	Ours  float64 `json:"ours"`
	Floor float64 `json:"floor,omitempty"`
	Unit  string  `json:"unit"`
	// Result is what the limit is for: the ratio of the two, or ours.
	Result float64 `json:"result"`
	// Limit is the most, or with AtLeast the least, that Result may be; 0
	// without a limit.
	Limit   float64 `json:"limit,omitempty"`
	AtLeast bool    `json:"at_least,omitempty"`
}

func (r row) ok() bool {
	switch {
	case r.Limit == 0:
		return true
	case r.AtLeast:
		return r.Result >= r.Limit
	default:
		return r.Result <= r.Limit
	}
}

// ratio makes a row whose result is ours in terms of the floor.
func ratio(name, unit string, ours, floor, limit float64) row {
	return row{Name: name, Ours: ours, Floor: floor, Unit: unit, Result: ours / floor, Limit: limit}
}

// absolute makes a row without a floor.
func absolute(name, unit string, ours, limit float64) row {
	return row{Name: name, Ours: ours, Unit: unit, Result: ours, Limit: limit}
}

type table struct {
	At   time.Time `json:"at"`
	Rows []row     `json:"rows"`
}

func (t *table) add(rows ...row) { t.Rows = append(t.Rows, rows...) }

// errMissed means that a limit was not kept; the table shows which.
var errMissed = errors.New("a limit was missed")

// finish prints the table next to that of the last run, and writes it to file.
func (t *table) finish(out io.Writer, file string) error {
	var last table // empty when there is no readable one
	if content, err := os.ReadFile(file); err == nil {
		_ = json.Unmarshal(content, &last)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "what\tours\tfloor\tratio\tlimit\t\tlast run")
	missed := false
	for _, r := range t.Rows {
		_, _ = fmt.Fprintln(w, r.line(last))
		missed = missed || !r.ok()
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("cannot print the table: %w", err)
	}
	t.At = time.Now().UTC()
	content, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot encode the table: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // results are for everybody
		return fmt.Errorf("cannot make folder: %w", err)
	}
	if err := os.WriteFile(file, append(content, '\n'), 0o644); err != nil { //nolint:gosec // as above
		return fmt.Errorf("cannot write the table: %w", err)
	}
	if missed {
		return errMissed
	}
	return nil
}

func (r row) line(last table) string {
	floor, quotient, limit, mark, before := "", "", "", "", ""
	if r.Floor != 0 {
		floor, quotient = fmt.Sprintf("%.4g %s", r.Floor, r.Unit), fmt.Sprintf("%.2f", r.Ours/r.Floor)
	}
	if r.Limit != 0 {
		sign := "<="
		if r.AtLeast {
			sign = ">="
		}
		limit, mark = fmt.Sprintf("%s %.4g", sign, r.Limit), "ok"
		if !r.ok() {
			mark = "MISSED"
		}
	}
	if i := slices.IndexFunc(last.Rows, func(old row) bool { return old.Name == r.Name }); i >= 0 {
		before = fmt.Sprintf("%.4g", last.Rows[i].Result)
	}
	return fmt.Sprintf("%s\t%.4g %s\t%s\t%s\t%s\t%s\t%s", r.Name, r.Ours, r.Unit, floor, quotient, limit, mark, before)
}

// median of durations, in milliseconds. It sorts its argument.
func median(list []time.Duration) float64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return float64(list[len(list)/2].Microseconds()) / 1000
}
