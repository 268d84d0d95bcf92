// Command lint runs staticcheck and a few more analyzers as one program. It finds what matters of
// golangci-lint's findings, and is built in a third of the time.
//
// A line is exempted by a comment above it, or at its end: //lint:ignore NAME reason.
package main

import (
	"go/ast"
	"os"
	"strings"

	"codeberg.org/polyfloyd/go-errorlint/errorlint"
	"github.com/golangci/misspell"
	"github.com/gordonklaus/ineffassign/pkg/ineffassign"
	"github.com/kisielk/errcheck/errcheck"
	"github.com/ldez/usetesting"
	"github.com/sanposhiho/wastedassign/v2"
	"github.com/securego/gosec/v2/goanalysis"
	"github.com/timakin/bodyclose/passes/bodyclose"
	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/passes/modernize"
	"honnef.co/go/tools/analysis/lint"
	"honnef.co/go/tools/lintcmd"
	"honnef.co/go/tools/quickfix"
	"honnef.co/go/tools/simple"
	"honnef.co/go/tools/staticcheck"
	"honnef.co/go/tools/stylecheck"
	"honnef.co/go/tools/unused"
)

func main() {
	cmd := lintcmd.NewCommand("lint")
	for _, all := range [][]*lint.Analyzer{
		simple.Analyzers, staticcheck.Analyzers, stylecheck.Analyzers, quickfix.Analyzers, {unused.Analyzer},
	} {
		for _, a := range all {
			limit(a.Analyzer)
		}
		cmd.AddAnalyzers(all...)
	}
	for _, a := range append(modernize.Suite, bodyclose.Analyzer, errcheck.Analyzer, errorlint.NewAnalyzer(),
		gosec(), ineffassign.Analyzer, misspelled(), testingHelpers(), wastedassign.Analyzer) {
		limit(a)
		cmd.AddAnalyzers(&lint.Analyzer{Doc: &lint.RawDocumentation{Title: a.Doc}, Analyzer: a})
	}
	cmd.ParseFlags(os.Args[1:])
	cmd.Run()
}

// limit keeps a silent about generated files, and gosec about tests too.
func limit(a *analysis.Analyzer) {
	run := a.Run
	a.Run = func(pass *analysis.Pass) (any, error) {
		own := *pass
		own.Report = func(d analysis.Diagnostic) {
			for _, file := range pass.Files {
				isTest := strings.HasSuffix(pass.Fset.File(file.FileStart).Name(), "_test.go")
				if file.FileStart <= d.Pos && d.Pos < file.FileEnd && !ast.IsGenerated(file) && (a.Name != "gosec" || !isTest) {
					d.Category = "" // or the finding is dropped, as no analyzer has that name
					pass.Report(d)
				}
			}
		}
		return run(&own)
	}
}

// gosec returns the checks of gosec but those that do not fit this program.
func gosec() *analysis.Analyzer {
	set(goanalysis.Analyzer, "exclude", "G104"+ // errcheck does it better
		",G204"+ // the service exists to start the configured worker and Chrome
		",G302"+ // a folder needs its x bits
		",G304,G703"+ // paths come from the operator's own settings
		",G115") // integers of /proc and the wire are checked where it matters
	return goanalysis.Analyzer
}

// testingHelpers returns the analyzer that prefers the helpers of package testing. Folders are excepted:
// sockets need shorter paths than t.TempDir gives.
func testingHelpers() *analysis.Analyzer {
	a := usetesting.NewAnalyzer()
	set(a, "ossetenv", "true")
	set(a, "osmkdirtemp", "false")
	return a
}

// misspelled returns an analyzer that finds frequent misspellings in comments and texts.
func misspelled() *analysis.Analyzer {
	replacer := misspell.New()
	replacer.Compile()
	return &analysis.Analyzer{Name: "misspell", Doc: "finds frequent misspellings", Run: func(pass *analysis.Pass) (any, error) {
		for _, file := range pass.Files {
			text, err := os.ReadFile(pass.Fset.File(file.FileStart).Name())
			if err != nil {
				return nil, err
			}
			_, found := replacer.ReplaceGo(string(text))
			for _, d := range found {
				pos := pass.Fset.File(file.FileStart).LineStart(d.Line)
				pass.Reportf(pos, "%q is a misspelling of %q", d.Original, d.Corrected)
			}
		}
		return nil, nil
	}}
}

func set(a *analysis.Analyzer, flag, value string) {
	if err := a.Flags.Set(flag, value); err != nil {
		panic(err)
	}
}
