package main

import (
	"strings"
	"testing"
)

func TestQRIsDrawnOnlyWhereItFits(t *testing.T) {
	code := strings.Repeat("line\n", 30)
	for s, want := range map[size]struct{ drawn, address bool }{
		{}: {true, false}, {59, 40}: {false, true}, {60, 32}: {true, false}, {60, 31}: {true, true}, {200, 0}: {true, false},
	} {
		text := draw(code, s, "http://127.0.0.1:3001")
		if strings.HasPrefix(text, code) != want.drawn || strings.Contains(text, "http://127.0.0.1:3001/ ") != want.address {
			t.Errorf("%v: got %q", s, text)
		}
	}
}
