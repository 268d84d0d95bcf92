package main

import (
	"strings"
	"testing"
)

func TestQRIsDrawnOnlyWhereItFits(t *testing.T) {
	code := strings.Repeat("line\n", 30)
	for columns, want := range map[int]bool{0: true, 59: false, 60: true, 200: true} {
		text := draw(code, columns, "http://127.0.0.1:3001")
		if strings.HasPrefix(text, code) != want || !want && !strings.Contains(text, "http://127.0.0.1:3001/ ") {
			t.Errorf("%d columns: got %q", columns, text)
		}
	}
}
