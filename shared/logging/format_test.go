package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTextIsOneLineForPeople(t *testing.T) {
	var out bytes.Buffer
	log := Format{Text: true}.Logger(&out, "supervisor", slog.LevelInfo).With("gen", 3)
	for want, attrs := range map[string][]any{
		`gen=3 from=INIT to=READY`:                      {"from", "INIT", "to", "READY"},
		`gen=3 detail="the disk is full"`:               {"detail", "the disk is full"},
		`gen=3 after_ms=1500 empty="" err="no \"x\""`:   {"after_ms", 1500 * time.Millisecond, "empty", "", "err", errors.New(`no "x"`)},
		`gen=3 line="\x1b]0;owned\a\x1b[2J\nINFO"`:      {"line", "\x1b]0;owned\a\x1b[2J\nINFO"},
		`gen=3 line="\u202eevil"`:                       {"line", "\u202eevil"},
		`gen=3 g.a=1 g.b.c=2`:                           {slog.Group("g", "a", 1, slog.Group("b", "c", 2))},
		`gen=3 code=[code] pids="[1 2]"`:                {"code", "ABCD-1234", "pids", []int{1, 2}},
		`gen=3 code="\"[code]\"" detail="a \x1b\"page"`: {"code", json.RawMessage(`"ABCD-1234"`), "detail", json.RawMessage(`"a \u001b\"page"`)},
		`gen=3 pid=5 root=true ids=[1,2]`:               {"pid", json.RawMessage("5"), "root", json.RawMessage("true"), "ids", json.RawMessage("[1,2]")},
	} {
		out.Reset()
		log.Debug("nothing_happened")
		log.Warn("something_happened", attrs...)
		line := regexp.MustCompile(`^\d\d:\d\d:\d\d WARN  something_happened (.*)\n$`).FindStringSubmatch(out.String())
		if line == nil || line[1] != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	}
}

func TestPrioritiesAreThoseOfTheLevels(t *testing.T) {
	for _, text := range []bool{false, true} {
		var out bytes.Buffer
		log := Format{Text: text, Priorities: true}.Logger(&out, "supervisor", slog.LevelDebug).With("gen", 3).WithGroup("g")
		for level, prefix := range map[slog.Level]string{
			slog.LevelDebug: "<7>", slog.LevelInfo: "<6>", slog.LevelWarn: "<4>", slog.LevelError: "<3>",
			slog.LevelDebug - 4: "", slog.LevelError + 4: "<3>", slog.LevelInfo + 1: "<6>",
		} {
			out.Reset()
			log.Log(t.Context(), level, "something_happened", "detail", "first\n<0>second")
			if got := out.String(); !strings.HasPrefix(got, prefix) || strings.Count(got, "\n") > 1 || (prefix == "") != (got == "") {
				t.Errorf("%s: got %q, want %s", level, got, prefix)
			}
		}
	}
}

// The Writer's own lines, too.
func TestJournalIsRecognisedByItsStream(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	var stat unix.Stat_t
	if err := unix.Fstat(int(writer.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	for stream, want := range map[string]bool{"": false, "8:1": false, fmt.Sprintf("%d:%d", stat.Dev, stat.Ino): true} {
		t.Setenv("JOURNAL_STREAM", stream)
		if got := readByJournal(int(writer.Fd())); got != want {
			t.Errorf("%q: %t, want %t", stream, got, want)
		}
	}
	w := NewWriter(int(writer.Fd()), "supervisor", "log_lines_dropped")
	w.format.Priorities = true
	w.missing = 1
	w.Fail(errors.New("no\x1b[2J\u009b\u202eé\n\t→"))
	w.Flush(time.Minute)
	_ = writer.Close()
	var out bytes.Buffer
	_, _ = out.ReadFrom(reader)
	if got := out.String(); !strings.HasPrefix(got, `<4>{`) || !strings.HasSuffix(got, "\n<3>"+filepath.Base(os.Args[0])+": no\ufffd[2J\ufffd\ufffdé\n\t→\n") {
		t.Errorf("got %q", got)
	}
}
