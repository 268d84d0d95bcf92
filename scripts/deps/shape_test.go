package deps

import (
	"cmp"
	"go/ast"
	"go/token"
	"iter"
	"testing"
	"unicode"
)

// The limits keep a type or a function small enough to be read as one thing.
const (
	maxFields   = 15
	maxMethods  = 20
	maxBranches = 12
	maxWords    = 8 // in the name of a test, "Test" excluded
)

// large are the types that may exceed the limits, each with its reason.
var large = map[string]string{}

func TestTypesStaySmall(t *testing.T) {
	fields, methods := measureTypes(goSources(t))
	for name, n := range fields {
		if n > maxFields && large[name] == "" {
			t.Errorf("%s has %d fields, more than %d", name, n, maxFields)
		}
	}
	for name, n := range methods {
		if n > maxMethods && large[name] == "" {
			t.Errorf("%s has %d methods, more than %d", name, n, maxMethods)
		}
	}
	for name := range large {
		if fields[name] <= maxFields && methods[name] <= maxMethods {
			t.Errorf("%s is within the limits; remove it from the exceptions", name)
		}
	}
}

// measureTypes counts the fields and the methods of every type outside of tests.
// Types are named by folder and name.
func measureTypes(files []source) (fields, methods map[string]int) {
	fields, methods = map[string]int{}, map[string]int{}
	for _, file := range files {
		if file.isTest() {
			continue
		}
		for _, decl := range file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv != nil {
				methods[file.folder()+"."+receiver(fn.Recv.List[0].Type)]++
			}
		}
		for spec := range ast.Preorder(file.File) {
			if s, ok := spec.(*ast.TypeSpec); ok {
				if body, ok := s.Type.(*ast.StructType); ok {
					fields[file.folder()+"."+s.Name.Name] = body.Fields.NumFields()
				}
			}
		}
	}
	return fields, methods
}

// receiver returns the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func TestFunctionsHaveFewBranches(t *testing.T) {
	for _, file := range goSources(t) {
		for _, decl := range file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok {
				if n := branches(fn); n > maxBranches {
					t.Errorf("%s:%d: %s has %d branches, more than %d", file.path, file.line(fn), fn.Name.Name, n, maxBranches)
				}
			}
		}
	}
}

// branches counts the points at which the control flow of fn forks, those of its function
// literals included: the cyclomatic complexity less one.
func branches(fn *ast.FuncDecl) (n int) {
	for node := range ast.Preorder(fn) {
		switch s := node.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			n++
		case *ast.CaseClause:
			if s.List != nil {
				n++
			}
		case *ast.CommClause:
			if s.Comm != nil {
				n++
			}
		case *ast.BinaryExpr:
			if s.Op == token.LAND || s.Op == token.LOR {
				n++
			}
		}
	}
	return n
}

// TestExportedNamesHaveComments checks what a package exports by name; fields and methods of types
// that are not exported themselves may do without.
func TestExportedNamesHaveComments(t *testing.T) {
	for _, file := range goSources(t) {
		if file.isTest() || file.Name.Name == "main" {
			continue
		}
		for _, decl := range file.Decls {
			for name, comments := range exported(decl) {
				if comments == nil {
					t.Errorf("%s:%d: %s has no comment", file.path, file.line(name), name.Name)
				}
			}
		}
	}
}

// exported yields the names that decl exports, each with its comment or that of its group.
func exported(decl ast.Decl) iter.Seq2[*ast.Ident, *ast.CommentGroup] {
	return func(yield func(*ast.Ident, *ast.CommentGroup) bool) {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d.Recv.List[0].Type))) {
				yield(d.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() && !yield(s.Name, cmp.Or(s.Doc, d.Doc)) {
						return
					}
				case *ast.ValueSpec:
					if s.Names[0].IsExported() && !yield(s.Names[0], cmp.Or(s.Doc, s.Comment, d.Doc)) {
						return
					}
				}
			}
		}
	}
}

func TestTestNamesAreShort(t *testing.T) {
	for _, file := range goSources(t) {
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || !file.isTest() || fn.Recv != nil || len(fn.Name.Name) < 4 || fn.Name.Name[:4] != "Test" {
				continue
			}
			if n := words(fn.Name.Name[4:]); n > maxWords {
				t.Errorf("%s:%d: %s has %d words, more than %d", file.path, file.line(fn), fn.Name.Name, n, maxWords)
			}
		}
	}
}

// words counts the words of a name in camel case, in which an acronym is one word.
func words(name string) (n int) {
	runes := []rune(name)
	for i, r := range runes {
		if !unicode.IsUpper(r) {
			continue
		}
		if i == 0 || !unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]) {
			n++
		}
	}
	return n
}
