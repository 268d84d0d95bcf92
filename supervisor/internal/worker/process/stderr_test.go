package process

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

func TestParseLine(t *testing.T) {
	tests := map[string]struct {
		in    string
		level slog.Level
		msg   string
		keys  string
		ok    bool
	}{
		"slog":            {`{"time":"x","level":"INFO","msg":"hi","b":1,"a":{"c":[true]}}`, slog.LevelInfo, "hi", "a b", true},
		"slog, odd level": {`{"level":"WARN+1","msg":"hi"}`, slog.LevelWarn + 1, "hi", "", true},
		"hclog":           {in: `{"@level":"error","@message":"hi","@timestamp":"x","@module":"m"}`},
		"our keys":        {`{"level":"INFO","msg":"hi","process":"x","gen":7,"origin":"y"}`, slog.LevelInfo, "hi", "", true},
		"plain":           {in: "hello"},
		"no level":        {in: `{"msg":"hi"}`},
		"level unheard":   {in: `{"level":"loud","msg":"hi"}`},
		"level a number":  {in: `{"level":4,"msg":"hi"}`},
		"msg an object":   {in: `{"level":"INFO","msg":{}}`},
		"null":            {in: `{"level":null,"msg":null}`},
		"two values":      {in: `{"level":"INFO","msg":"hi"}{"level":"INFO","msg":"hi"}`},
		"torn":            {in: `{"level":"INFO","msg":"hi`},
		"deep":            {in: strings.Repeat(`{"a":`, 20000)},
		"an array":        {in: `[1]`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			level, msg, attrs, ok := parseLine(tt.in)
			var keys []string
			for _, a := range attrs {
				keys = append(keys, a.Key)
			}
			if ok != tt.ok || level != tt.level || msg != tt.msg || strings.Join(keys, " ") != tt.keys {
				t.Errorf("parseLine() = %v, %q, %v, %v", level, msg, attrs, ok)
			}
		})
	}
}

func TestRateCountsWhatItDoesNotAllow(t *testing.T) {
	var r rate
	now := time.Now()
	allowed := 0
	for range 3 * linesPerSecond {
		if ok, dropped := r.allow(now, 1); ok {
			allowed++
		} else if dropped != 0 {
			t.Error("reported too early")
		}
	}
	if allowed != linesPerSecond {
		t.Errorf("allowed %d, want %d", allowed, linesPerSecond)
	}
	if ok, dropped := r.allow(now.Add(time.Second), 1); !ok || dropped != 2*linesPerSecond {
		t.Errorf("a second later: %v, %d dropped", ok, dropped)
	}
	if r.flush() != 0 {
		t.Error("reported twice")
	}
}

func TestDroppedLinesAreNotDecoded(t *testing.T) {
	const lines = 1000
	now := time.Now()
	flood := strings.Repeat("{"+strings.Repeat(`"a\u0040b":[{}],`, 500)+`"x":1}`+"\n", lines)
	perLine := testing.AllocsPerRun(1, func() {
		s := newStderr(slog.New(slog.DiscardHandler), func() time.Time { return now })
		s.rate = rate{second: now, used: linesPerSecond}
		s.pump(strings.NewReader(flood))
	}) / lines
	if perLine > 10 {
		t.Errorf("%.0f allocations a line", perLine)
	}
}

func TestLastLinesAreKeptInOrder(t *testing.T) {
	s := newStderr(slog.New(slog.DiscardHandler), time.Now)
	var text strings.Builder
	for i := range keptLines + 50 {
		text.WriteString(strings.Repeat("x", i%7) + " " + string(rune('a'+i%26)) + "\n")
	}
	s.pump(strings.NewReader(text.String() + "call +49 170 1234567\n\n"))
	kept := s.record()
	got := kept[max(0, len(kept)-3):]
	all := strings.Split(strings.TrimSpace(text.String()), "\n")
	want := []string{all[len(all)-2], all[len(all)-1], "call [phone]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("last lines (-want +got):\n%s", diff)
	}
	if len(kept) != keptLines {
		t.Errorf("kept %d", len(kept))
	}
}

func TestOutputAfterAPanicIsAWarning(t *testing.T) {
	var b bytes.Buffer
	s := newStderr(logging.New(&b, "supervisor", slog.LevelInfo), time.Now)
	s.pump(strings.NewReader("before\npanic: oh\n\ngoroutine 1 [running]:\n"))
	var levels []string
	for line := range strings.Lines(b.String()) {
		var fields struct{ Level, Msg string }
		if err := json.Unmarshal([]byte(line), &fields); err != nil || fields.Msg != "worker_stderr_received" {
			t.Errorf("logged %s: %v", line, err)
		}
		levels = append(levels, fields.Level)
	}
	if strings.Join(levels, " ") != "INFO WARN WARN" {
		t.Errorf("levels %v", levels)
	}
}

func TestFirstLinesOfADeathAreKept(t *testing.T) {
	s := newStderr(slog.New(slog.DiscardHandler), time.Now)
	s.pump(strings.NewReader("before\nSIGQUIT: quit\n" + strings.Repeat("\tframe\n", 10*keptLines)))
	got := s.record()
	if len(got) != keptLines || got[0] != "SIGQUIT: quit" {
		t.Errorf("kept %d lines from %q on", len(got), got[0])
	}
	if short := Excerpt(got); len(short) == 0 || short[0] != got[0] || len(short) > 100 {
		t.Errorf("excerpt of %d lines from %q on", len(short), short[0])
	}
}

func TestExcerptIsSmall(t *testing.T) {
	long := make([]string, 100)
	for i := range long {
		long[i] = strings.Repeat("x", maxRaw)
	}
	size := 0
	for _, line := range Excerpt(long) {
		size += len(line)
	}
	if size == 0 || size > excerptBytes {
		t.Errorf("excerpt has %d bytes", size)
	}
	if got := Excerpt([]string{"a", "b"}); len(got) != 2 {
		t.Errorf("Excerpt() = %v", got)
	}
}

func TestCheckHandshake(t *testing.T) {
	ours := fmt.Sprintf("1|%d|", rpc.ProtocolVersion)
	for line, says := range map[string]string{
		ours + "unix|/tmp/s|grpc||false\n": "",
		"":                                 "not a handshake",
		"hello":                            "not a handshake",
		"1|x|unix|/tmp/s":                  "not a handshake",
		"2|2|unix|/tmp/s|grpc":             "go-plugin's protocol",
		"1|1|unix|/tmp/s|grpc":             "protocol version 1",
		ours + "tcp|127.0.0.1:1|grpc":      "not on a unix socket",
	} {
		err := checkHandshake(line)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("checkHandshake(%q) = %v", line, err)
		}
		if err != nil && reason.Of(err, "") != reason.WorkerUnusable {
			t.Errorf("checkHandshake(%q) carries %q", line, reason.Of(err, ""))
		}
	}
}

func TestRateBoundsLongLines(t *testing.T) {
	var r rate
	now := time.Now()
	logged := 0
	for range linesPerSecond {
		if ok, _ := r.allow(now, maxLine); ok {
			logged += maxLine
		}
	}
	if logged != bytesPerSecond {
		t.Errorf("%d bytes in a second", logged)
	}
}
