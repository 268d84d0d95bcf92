package deps

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// The limits keep a type small enough to be read as one thing.
const (
	maxFields  = 15
	maxMethods = 20
)

// large are the types that may exceed the limits, each with its reason.
var large = map[string]string{}

func TestTypesStaySmall(t *testing.T) {
	fields, methods := measureTypes(t, "../..")
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

// measureTypes counts the fields and the methods of every type below root, tests
// and generated code excluded. Types are named by folder and name.
func measureTypes(t *testing.T, root string) (fields, methods map[string]int) {
	t.Helper()
	fields, methods = map[string]int{}, map[string]int{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "tools" || d.Name() == "node_modules" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		if ast.IsGenerated(file) {
			return nil
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if s, ok := spec.(*ast.TypeSpec); ok {
						if body, ok := s.Type.(*ast.StructType); ok {
							fields[folder+"."+s.Name.Name] = body.Fields.NumFields()
						}
					}
				}
			case *ast.FuncDecl:
				if d.Recv != nil {
					methods[folder+"."+receiver(d.Recv.List[0].Type)]++
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
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
