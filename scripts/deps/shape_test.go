package deps

import (
	"go/ast"
	"testing"
	"unicode"
)

// The limits keep a type small enough to be read as one thing.
const (
	maxFields  = 15
	maxMethods = 20
	maxWords   = 8 // in the name of a test, "Test" excluded
)

// large are the types that may exceed the limits, each with its reason.
var large = map[string]string{
	"supervisor/internal/config.Config": "each setting is a field, whose tags are its documentation",
}

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
