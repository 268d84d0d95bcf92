package logging

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

func TestHCLogLogsAtDebugAndPreventsParsing(t *testing.T) {
	var out bytes.Buffer
	l := HCLog(New(&out, "supervisor", slog.LevelDebug))
	for _, sub := range []hclog.Logger{l, l.Named("x"), l.With("a", 1), l.ResetNamed("y")} {
		if sub.GetLevel() != hclog.Off {
			t.Errorf("GetLevel() = %v, want Off", sub.GetLevel())
		}
		sub.Error("plugin process exited", "id", 7)
		sub.Trace("nothing")
	}
	if got := strings.Count(out.String(), `"level":"DEBUG","msg":"plugin process exited"`); got != 4 {
		t.Errorf("%d lines at debug, want 4:\n%s", got, out.String())
	}
	if strings.Contains(out.String(), "nothing") {
		t.Error("trace was written")
	}
}
