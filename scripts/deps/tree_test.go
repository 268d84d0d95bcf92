// Package deps checks the source tree itself: what may import what, how large types and
// functions may grow, and which words the texts avoid.
package deps

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the top of the source tree, seen from this package.
const root = "../.."

// filesBelow returns the files of the source tree for which wanted reports true, as
// slash-separated paths relative to its top. What was built or downloaded is left out.
func filesBelow(t *testing.T, wanted func(path string) bool) []string {
	t.Helper()
	var files []string
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (slices.Contains([]string{".git", ".cache", "bin", "node_modules"}, d.Name()) || strings.HasPrefix(path, "tokens/")):
			return fs.SkipDir
		case !d.IsDir() && wanted(path):
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// source is a parsed Go file.
type source struct {
	*ast.File
	path string
	fset *token.FileSet
}

// folder returns the file's folder, relative to the top of the tree.
func (s source) folder() string { return filepath.ToSlash(filepath.Dir(s.path)) }

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// line returns the line on which n begins.
func (s source) line(n ast.Node) int { return s.fset.Position(n.Pos()).Line }

// goSources parses all Go files of the tree but generated ones.
func goSources(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, path := range filesBelow(t, func(path string) bool { return strings.HasSuffix(path, ".go") }) {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, filepath.Join(root, path), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if !ast.IsGenerated(file) {
			all = append(all, source{file, path, fset})
		}
	}
	return all
}
