package logging

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the lists of log ids in the documents")

// entry is a line of a process's table of ids, the constants of its package
// logid: name, id, and in the comment "LEVEL[, LEVEL]: meaning".
type entry struct {
	id, meaning string
	levels      []string
	used        bool
}

var (
	// Ids are a noun and what happened to it.
	grammar = regexp.MustCompile(`^[a-z]+(_[a-z]+)*_([a-z]+ed|lost|written)$`)
	comment = regexp.MustCompile(`^((?:DEBUG|INFO|WARN|ERROR)(?:, (?:INFO|WARN|ERROR))*): (.+\.)$`)
)

func TestEveryLogLineHasAnID(t *testing.T) {
	for _, process := range []string{"supervisor", "worker"} {
		t.Run(process, func(t *testing.T) {
			root := filepath.Join("../..", process)
			path := filepath.Join(root, "internal/logid/logid.go")
			table, _ := readTable(t, path)
			checkCalls(t, root, table)
			for name, e := range table {
				if !e.used {
					t.Errorf("logid.%s is not used", name)
				}
			}
		})
	}
}

func TestDocumentsListTheLogIDs(t *testing.T) {
	_, groups := readTable(t, "../../supervisor/internal/logid/logid.go")
	_, more := readTable(t, "../../worker/internal/logid/logid.go")
	groups += more
	page := regexp.MustCompile(`(?m)^\.TP\n\.BR (\S+) " (.*)"\n`).ReplaceAllString(groups, "- `$1` $2: ")
	page = strings.ReplaceAll(page, ".SS ", "\n### ")
	page = regexp.MustCompile(`(?m)^### .*\n`).ReplaceAllString(page, "$0\n")
	listed(t, "../../scripts/package/session-manager.8", ".\\\" log ids: begin\n", groups, ".\\\" log ids: end\n")
	listed(t, "../../scripts/package/docs/log.md", "<!-- log ids: begin -->\n", page+"\n", "<!-- log ids: end -->\n")
}

// listed wants the block between begin and end of a document to be list.
func listed(t *testing.T, path, begin, list, end string) {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(page), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no block between %q and %q", path, begin, end)
	}
	want := head + begin + list + end + tail
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(page) {
		t.Errorf("the list in %s is old; run go test ./shared/logging -update", path)
	}
}

// readTable returns the entries by their constants' names, and as a list for
// the manual page.
func readTable(t *testing.T, path string) (map[string]*entry, string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	table, ids := map[string]*entry{}, map[string]bool{}
	var list strings.Builder
	for _, decl := range file.Decls {
		group := decl.(*ast.GenDecl)
		fmt.Fprintf(&list, ".SS %s\n", strings.TrimSuffix(strings.TrimSpace(group.Doc.Text()), "."))
		for _, spec := range group.Specs {
			v := spec.(*ast.ValueSpec)
			id, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			m := comment.FindStringSubmatch(strings.TrimSpace(v.Comment.Text()))
			if err != nil || m == nil || !grammar.MatchString(id) || strings.Contains(id, "_not_") || ids[id] {
				t.Errorf("%s = %q // %s", v.Names[0].Name, id, v.Comment.Text())
				continue
			}
			ids[id] = true
			table[v.Names[0].Name] = &entry{id: id, levels: strings.Split(m[1], ", "), meaning: m[2]}
			fmt.Fprintf(&list, ".TP\n.BR %s \" (%s)\"\n%s\n", id, m[1], m[2])
		}
	}
	return table, list.String()
}

// checkCalls checks each call of a logger below root.
func checkCalls(t *testing.T, root string, table map[string]*entry) {
	t.Helper()
	files := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == "testdata" {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if e := table[s.Sel.Name]; e != nil && isIdent(s.X, "logid") {
					e.used = true
				}
			}
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if level, msg, ok := logged(call); ok {
				if problem := check(table, level, msg); problem != "" {
					t.Errorf("%s: %s", files.Position(call.Pos()), problem)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// logged returns the level, empty where it is computed, and the message that a call
// logs, or false for a call of something else.
func logged(call *ast.CallExpr) (level string, msg ast.Expr, ok bool) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !isLogger(method.X) {
		return "", nil, false
	}
	index := map[string]int{"Debug": 0, "Info": 0, "Warn": 0, "Error": 0, "Log": 2, "LogAttrs": 2}
	i, ok := index[method.Sel.Name]
	if !ok || len(call.Args) <= i {
		return "", nil, false
	}
	level = strings.ToUpper(method.Sel.Name)
	if i > 0 {
		level = ""
		if s, ok := call.Args[1].(*ast.SelectorExpr); ok {
			level = strings.ToUpper(strings.TrimPrefix(s.Sel.Name, "Level"))
		}
	}
	return level, call.Args[i], true
}

// isLogger goes by the name.
func isLogger(x ast.Expr) bool {
	name := ""
	switch x := x.(type) {
	case *ast.Ident:
		name = x.Name
	case *ast.SelectorExpr:
		name = x.Sel.Name
	}
	name = strings.ToLower(name)
	return strings.HasSuffix(name, "log") || strings.HasSuffix(name, "logger")
}

func check(table map[string]*entry, level string, msg ast.Expr) string {
	s, ok := msg.(*ast.SelectorExpr)
	switch {
	case isIdent(msg, "msg"), ok && s.Sel.Name == "id":
		return "" // a line of the worker's that is forwarded, or an id from a table
	case !ok || !isIdent(s.X, "logid"):
		return "the message is not a constant of package logid"
	}
	e := table[s.Sel.Name]
	if e == nil {
		return s.Sel.Name + " is not in " + strings.Join(slices.Sorted(maps.Keys(table)), ", ")
	}
	if level == "" && len(e.levels) < 2 || level != "" && !slices.Contains(e.levels, level) {
		return fmt.Sprintf("%s is logged at %q, the table has %v", e.id, level, e.levels)
	}
	return ""
}

func isIdent(x ast.Expr, name string) bool {
	p, ok := x.(*ast.Ident)
	return ok && p.Name == name
}
