//go:build !race

// make check runs this without the race detector, with which it takes ten times as long.

package deps

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// oddPhrases are phrases for which there is a plainer one.
var oddPhrases = regexp.MustCompile(`(?i)\b(?:(?:is|are|was) told|tells?|told (?:of|by|to|on|that)` +
	`|says (?:whether|that|why|what|so)|is none|is no [a-z]+ that|that is no|whatever` +
	`|beside|by itself|any more|anew|mends?|goes on|go on by|takes? up` +
	`|lies in|of ours|dearest|brings? upon|since when|until when|for good` +
	`|came to|what comes of)\b`)

// rightAsTheyStand are lines that may hold an odd phrase: the file, a part of the line, and the reason.
var rightAsTheyStand = []struct{ path, part, because string }{}

func TestTextsAvoidOddPhrases(t *testing.T) {
	used := make([]bool, len(rightAsTheyStand))
	kinds := []string{".go", ".md", ".yaml", ".json", ".html", ".js", ".sh", ".8"}
	files := filesBelow(t, func(path string) bool {
		name := filepath.Base(path)
		return name == "Makefile" || slices.Contains(kinds, filepath.Ext(name)) &&
			!strings.HasSuffix(name, ".pb.go") && name != "package-lock.json" && name != "english_test.go"
	})
	for _, path := range files {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			phrase := oddPhrases.FindString(line)
			if phrase == "" {
				continue
			}
			exception := slices.IndexFunc(rightAsTheyStand, func(r struct{ path, part, because string }) bool {
				return r.path == path && strings.Contains(line, r.part)
			})
			if exception < 0 {
				t.Errorf("%s:%d: there is a plainer word for %q", path, i+1, phrase)
				continue
			}
			used[exception] = true
		}
	}
	for i, r := range rightAsTheyStand {
		if !used[i] {
			t.Errorf("no line of %s that has %q holds an odd phrase; remove the exception", r.path, r.part)
		}
	}
}
