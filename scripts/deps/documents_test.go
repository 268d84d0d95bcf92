package deps

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const pages = "scripts/package/docs"

// unpacked is a package that was built and unpacked.
var unpacked = flag.String("unpacked", "", "folder with an unpacked package, whose documents are checked too")

var (
	fenced   = regexp.MustCompile("(?ms)^```.*?^```$")
	inline   = regexp.MustCompile("`[^`\n]*`")
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ +(.*?)\s*$`)
	anchored = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	shared   = regexp.MustCompile(`/usr/share/[\w./@-]*\w`)
)

// anchors returns the names that GitHub gives the headings of a document.
func anchors(document string) map[string]bool {
	all := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(document, ""), -1) {
		all[strings.ReplaceAll(anchored.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return all
}

// deadLinks returns the links of a document of a tree that lead to no file of the tree, or to no heading.
func deadLinks(tree, document string) (dead []string) {
	text, err := os.ReadFile(filepath.Join(tree, document))
	if err != nil {
		return []string{err.Error()}
	}
	prose := inline.ReplaceAllString(fenced.ReplaceAllString(string(text), ""), "")
	for _, m := range link.FindAllStringSubmatch(prose, -1) {
		if strings.Contains(m[1], "://") {
			continue
		}
		path, anchor, _ := strings.Cut(m[1], "#")
		target := document
		if path != "" {
			target = filepath.Join(filepath.Dir(document), path)
		}
		content, err := os.ReadFile(filepath.Join(tree, target))
		if err != nil || !filepath.IsLocal(target) || anchor != "" && !anchors(string(content))[anchor] {
			dead = append(dead, m[1])
		}
	}
	return dead
}

func TestLinksAreFollowedToFilesAndHeadings(t *testing.T) {
	outside := t.TempDir()
	tree := filepath.Join(outside, "tree")
	for name, content := range map[string]string{
		"a.md":   "# One *Thing*\n[own](#one-thing) [other](b/b.md#two-three) [file](b/c.go) [web](https://example.org/) `](no)`\n```\n](no)\n# no\n```\n",
		"b/b.md": "## Two: three\n[up](../a.md) [gone](gone.md) [heading](../a.md#no) [out](../../x)\n",
		"b/c.go": "",
		"../x":   "",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(tree, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if dead := deadLinks(tree, "a.md"); dead != nil {
		t.Errorf("dead: %v", dead)
	}
	if dead := strings.Join(deadLinks(tree, "b/b.md"), " "); dead != "gone.md ../a.md#no ../../x" {
		t.Errorf("dead: %s", dead)
	}
}

func TestLinksOfTheRepositoryLeadSomewhere(t *testing.T) {
	documents := filesBelow(t, func(path string) bool { return filepath.Ext(path) == ".md" })
	for _, path := range documents {
		for _, dead := range deadLinks(root, path) {
			t.Errorf("%s: nothing is at %s", path, dead)
		}
	}
}

func TestLinksOfThePackageLeadSomewhere(t *testing.T) {
	tree := *unpacked
	packed := func(path string) bool { _, err := os.Stat(filepath.Join(tree, path)); return err == nil }
	if tree == "" {
		tree = t.TempDir()
		if out, err := exec.CommandContext(t.Context(), root+"/scripts/package/documents.sh", tree+documentation).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		contents, err := os.ReadFile(root + "/scripts/package/nfpm.yaml")
		if err != nil {
			t.Fatal(err)
		}
		inTree := packed
		packed = func(path string) bool { return inTree(path) || strings.Contains(string(contents), "dst: "+path) }
	}
	checkPackage(t, tree, packed)
}

const documentation = "/usr/share/doc/session-manager"

// checkPackage follows the links of the documents in a tree of the package, and looks for the files that they name.
func checkPackage(t *testing.T, tree string, packed func(path string) bool) {
	t.Helper()
	documents, err := filepath.Glob(tree + documentation + "/docs/*.md")
	top, err2 := filepath.Glob(tree + documentation + "/*.md")
	if err = errors.Join(err, err2); err != nil || len(documents) < 10 || len(top) == 0 {
		t.Fatalf("%v, %v: %v", top, documents, err)
	}
	manual, err := os.ReadFile(root + "/scripts/package/session-manager.8")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"the man page": strings.ReplaceAll(string(manual), `\-`, "-")}
	for _, path := range append(documents, top...) {
		within, err := filepath.Rel(tree+documentation, path)
		if err != nil {
			t.Fatal(err)
		}
		for _, dead := range deadLinks(tree+documentation, within) {
			t.Errorf("%s: nothing is at %s", within, dead)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts[within] = string(text)
	}
	for name, text := range texts {
		for _, named := range shared.FindAllString(text, -1) {
			if !packed(named) {
				t.Errorf("%s: the package has no %s", name, named)
			}
		}
	}
}

func TestReadmeIsShortAndLeadsToEachPage(t *testing.T) {
	readme, err := os.ReadFile(root + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(string(readme))); n >= 900 {
		t.Errorf("README.md has %d words, and may have less than 900", n)
	}
	for _, path := range filesBelow(t, func(path string) bool { return filepath.Dir(path) == pages && filepath.Ext(path) == ".md" }) {
		if !strings.Contains(string(readme), "]("+path+")") {
			t.Errorf("README.md does not lead to %s", path)
		}
	}
}
