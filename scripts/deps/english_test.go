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

// phrases are those for which there is a plainer one. Each stands between boundaries of words, so that
// this file has none of them.
const phrases = `\b(is|are|was) told\b|\btells?\b|\btold (of|by|to|on|that)\b` +
	`|\bsays (whether|that|why|what|so)\b|\bis none\b|\bis no [a-z]+ that\b|\bthat is no\b|\bwhatever\b` +
	`|\bbeside\b|\bby itself\b|\bany more\b|\banew\b|\bmends?\b|\bgoes on\b|\bgo on by\b|\btakes? up\b` +
	`|\blies in\b|\bof ours\b|\bdearest\b|\bbrings? upon\b|\bsince when\b|\buntil when\b|\bfor good\b` +
	`|\bcame to\b|\bwhat comes of\b`

// oddPhrases has one boundary for all phrases, with which most positions cost nothing.
var oddPhrases = regexp.MustCompile(`(?i)\b(` + strings.ReplaceAll(phrases, `\b`, "") + `)\b`)

// rightAsTheyStand are lines that may hold an odd phrase: the file, a part of the line, and the reason.
var rightAsTheyStand = []struct{ path, part, because string }{}

func TestTextsAvoidOddPhrases(t *testing.T) {
	used := make([]bool, len(rightAsTheyStand))
	kinds := []string{".go", ".md", ".yaml", ".json", ".html", ".js", ".sh", ".8"}
	files := filesBelow(t, func(path string) bool {
		name := filepath.Base(path)
		return name == "Makefile" || slices.Contains(kinds, filepath.Ext(name)) &&
			!strings.HasSuffix(name, ".pb.go") && name != "package-lock.json"
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
