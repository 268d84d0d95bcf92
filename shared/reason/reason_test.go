package reason

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the list of reasons in the documents")

func TestDocumentsListTheReasons(t *testing.T) {
	const path, begin, end = "../../scripts/package/docs/troubleshooting.md", "<!-- reasons: begin -->\n", "<!-- reasons: end -->\n"
	var list strings.Builder
	list.WriteString("\n| what is shown | what to do | code |\n| --- | --- | --- |\n")
	codes := Codes()
	slices.SortFunc(codes, func(a, b Code) int { return strings.Compare(Describe(a).Message, Describe(b).Message) })
	for _, code := range codes {
		text := Describe(code)
		fmt.Fprintf(&list, "| %s | %s | `%s` |\n", text.Message, cmp.Or(text.Action, "–"), code)
	}
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(page), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no block between %q and %q", path, begin, end)
	}
	want := head + begin + list.String() + "\n" + end + tail
	switch {
	case *update:
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	case want != string(page):
		t.Errorf("the list in %s is old; run go test ./shared/reason -update", path)
	}
}
