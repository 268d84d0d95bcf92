package webui

import (
	"strconv"
	"strings"
)

// The languages; the first one answers where none is understood.
var languages = []string{"en", "es"}

// choose returns the language that an Accept-Language header (RFC 9110, 12.5.4)
// gives the highest weight; among equals the one named first.
func choose(accept string) string {
	best, bestQ := languages[0], 0.0
	for part := range strings.SplitSeq(accept, ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		primary, _, _ := strings.Cut(strings.ToLower(tag), "-")
		for _, l := range languages {
			if q := weight(params); primary == l && q > bestQ {
				best, bestQ = l, q
			}
		}
	}
	return best
}

// weight reads "q=0.5"; what it can't read counts in full.
func weight(params string) float64 {
	text, ok := strings.CutPrefix(strings.TrimSpace(params), "q=")
	if !ok {
		return 1
	}
	q, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 1
	}
	return q
}
