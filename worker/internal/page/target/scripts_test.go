package target

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestOnlySocketsOfThePagesHostCount(t *testing.T) {
	s, err := Compile(nil)
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{
		"wss://web.whatsapp.com/ws/chat":                true,
		"wss://web.whatsapp.com:5222/ws/chat?ED=CAgIDQ": true,
		"wss://WEB.WhatsApp.com/ws/chat":                true,
		"wss://web.whatsapp.com/sim/page":               false,
		"wss://web.whatsapp.com/other/ws/chat":          false,
		"wss://web.whatsapp.com.example.org/ws/chat":    false,
		"wss://web.whatsapp.com@example.org/ws/chat":    false,
		"wss://example.org/ws/chat?web.whatsapp.com":    false,
		"wss://example.org/ws/chat":                     false,
		"/ws/chat":                                      false,
		"://":                                           false,
		"":                                              false,
		"wss://web.whatsapp.com/ws/chat?" + strings.Repeat("x", 5000): false,
	} {
		if got := s.IsSocket(address, "web.whatsapp.com"); got != want {
			t.Errorf("%.80s: %t", address, got)
		}
	}
}

// A second function of a name takes the first one's place, without an error.
func TestNoFunctionIsDeclaredTwice(t *testing.T) {
	paths, err := filepath.Glob("*.js")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	declaration := regexp.MustCompile(`(?m)^\s*(?:async )?function\*? (\w+)`)
	for _, path := range paths {
		script, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, m := range declaration.FindAllSubmatch(script, -1) {
			if name := string(m[1]); seen[name] {
				t.Errorf("%s declares %s twice", path, name)
			} else {
				seen[name] = true
			}
		}
	}
}
