package deps

import (
	"strconv"
	"strings"
	"testing"
)

// rules are the imports that are forbidden, by folder. What a folder may not import, the folders below it
// may not import either. As each folder that ships has its rules, they hold for indirect imports too.
var rules = []struct {
	folder, never, because string
	tests                  bool // the rule holds for tests as well
}{
	{"supervisor", "session-manager/worker", "the two processes meet in shared/ only", true},
	{"supervisor", "github.com/go-rod/rod", "only the worker drives Chrome", false},
	{"supervisor", "session-manager/scripts", "no shipped binary knows the simulator", false},
	{"worker", "session-manager/supervisor", "the two processes meet in shared/ only", true},
	{"worker", "github.com/gorilla/mux", "only the supervisor speaks HTTP", false},
	{"worker", "session-manager/scripts", "no shipped binary knows the simulator", false},
	{"shared", "session-manager/supervisor", "shared is below both processes", true},
	{"shared", "session-manager/worker", "shared is below both processes", true},
	{"shared", "session-manager/scripts", "no shipped binary knows the simulator", false},
	{"shared", "github.com/go-rod/rod", "only the worker drives Chrome", false},
	{"scripts/simulator", "session-manager/shared", "a simulator that shares constants with the product agrees with its typos", true},
	{"scripts/simulator", "session-manager/worker", "a simulator that shares constants with the product agrees with its typos", false},
	{"scripts/simulator", "session-manager/supervisor", "a simulator that shares constants with the product agrees with its typos", false},

	{"worker/internal/page/classify", "github.com/go-rod/rod", "classifying an observation needs no browser", true},
	{"worker/internal/page/qrpayload", "github.com/go-rod/rod", "a payload is a string", true},
	{"worker/internal/page/screenshot", "session-manager", "decoding an image needs nothing of the service", false},
	{"supervisor/internal/restart", "os", "the restart policy is a pure function of what happened and when", false},
	{"supervisor/internal/worker/process", "session-manager/supervisor/internal/profile", "a process knows nothing of the login", true},
	{"supervisor/internal/session", "net/http", "the session's state does not depend on how it is served", false},
	{"supervisor/internal/session", "os", "the session's state is a pure function of the events", false},
}

func TestDependenciesPointTheRightWay(t *testing.T) {
	files := goSources(t)
	for _, rule := range rules {
		checked := false
		for _, file := range files {
			if !within(file.folder(), rule.folder) || file.isTest() && !rule.tests {
				continue
			}
			checked = true
			for _, spec := range file.Imports {
				if path, _ := strconv.Unquote(spec.Path.Value); within(path, rule.never) {
					t.Errorf("%s:%d imports %s, but %s", file.path, file.line(spec), path, rule.because)
				}
			}
		}
		if !checked {
			t.Errorf("no file is in %s; the rule about %s checks nothing", rule.folder, rule.never)
		}
	}
}

// within reports whether path is parent or below it.
func within(path, parent string) bool {
	return path == parent || strings.HasPrefix(path, parent+"/")
}
