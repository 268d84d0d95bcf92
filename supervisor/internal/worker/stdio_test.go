package worker

import (
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

func TestHostileStderrIsLoggedAndHarmsNothing(t *testing.T) {
	r := newRig(t, "poison").start()
	awaitEvent[rpc.PageObserved](r)
	r.stop()
	var raw []string
	for _, line := range r.log.lines(t, "worker_stderr_received") {
		if line["origin"] != "worker" || line["gen"] != float64(1) {
			t.Errorf("line without its origin: %v", line)
		}
		raw = append(raw, line["line"].(string))
	}
	want := []string{`{"@message":5}`, `{"@level":true,"@message":"x"}`, `{"msg":7,"level":[]}`,
		"\x1b[31mred\x00 [login]", strings.Repeat("y", maxRaw), "end of poison"}
	if diff := cmp.Diff(want, raw); diff != "" {
		t.Errorf("raw lines (-want +got):\n%s", diff)
	}
	parsed := r.log.lines(t, "from the worker")
	if len(parsed) != 1 || parsed[0]["level"] != "WARN" || parsed[0]["n"] != float64(42) ||
		parsed[0]["process"] != "supervisor" || parsed[0]["origin"] != "worker" {
		t.Errorf("log line of the worker: %v", parsed)
	}
}

// patient is for a worker that does not beat while it writes.
func patient(o *Options) { o.Timings.Silence = patience }

func TestAFloodOnStderrBlocksNobodyAndIsCounted(t *testing.T) {
	r := newRig(t, "flood", patient).start() // 100 MB
	awaitEvent[rpc.PageObserved](r)
	r.stop()
	if size := len(r.log.text()); size > 1<<20 {
		t.Errorf("the log has %d bytes", size)
	}
	dropped := 0.0
	for _, line := range r.log.lines(t, "worker_stderr_dropped") {
		dropped += line["lines"].(float64)
	}
	logged := len(r.log.lines(t, "worker_stderr_received"))
	if int(dropped)+logged < 1_000_000 {
		t.Errorf("%v dropped and %d logged of 1000000 lines", dropped, logged)
	}
}

func TestStdoutAfterTheHandshakeIsCountedAndDropped(t *testing.T) {
	r := newRig(t, "stdout flood", patient).start() // 100 MB
	awaitEvent[rpc.PageObserved](r)
	r.stop()
	if got := r.exitLine()["stdout_bytes_dropped"]; got != float64(100<<20) {
		t.Errorf("dropped %v bytes", got)
	}
}

func TestTheWorkerSeesOnlyTheEnvironmentThatIsMeantForIt(t *testing.T) {
	for _, name := range []string{"SECRET_TOKEN", "NOTIFY_SOCKET", "https_proxy", "HTTP_PROXY"} {
		t.Setenv(name, "leaked")
	}
	t.Setenv("TZ", "Europe/Berlin")
	r := newRig(t, "environment").start()
	awaitEvent[rpc.PageObserved](r)
	r.stop()
	var env string
	for _, line := range r.log.lines(t, "worker_stderr_received") {
		env, _ = strings.CutPrefix(line["line"].(string), "ENV ")
	}
	got := map[string]string{}
	for entry := range strings.SplitSeq(env, "\x1f") {
		name, value, _ := strings.Cut(entry, "=")
		got[name] = value
	}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TZ", "DISABLE_ROD_FLAG"} {
		if got[name] == "" {
			t.Errorf("%s is missing", name)
		}
		delete(got, name)
	}
	for name, value := range got {
		if value == "leaked" || !strings.HasPrefix(name, "PLUGIN_") && name != "LANG" && name != rpc.Handshake().MagicCookieKey {
			t.Errorf("%s=%.40s is there", name, value)
		}
	}
}

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
		"hclog":           {`{"@level":"error","@message":"hi","@timestamp":"x","@module":"m"}`, slog.LevelError, "hi", "@module", true},
		"hclog trace":     {`{"@level":"trace","@message":"hi"}`, slog.LevelDebug, "hi", "", true},
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
			r, ok := parseLine(tt.in)
			var keys []string
			for _, a := range r.attrs {
				keys = append(keys, a.Key)
			}
			if ok != tt.ok || r.level != tt.level || r.msg != tt.msg || strings.Join(keys, " ") != tt.keys {
				t.Errorf("parseLine() = %+v, %v", r, ok)
			}
		})
	}
}

func TestRateLogsSoManyLinesASecondAndCountsTheRest(t *testing.T) {
	var r rate
	now := time.Now()
	allowed := 0
	for range 3 * linesPerSecond {
		if ok, dropped := r.allow(now); ok {
			allowed++
		} else if dropped != 0 {
			t.Error("told too early")
		}
	}
	if allowed != linesPerSecond {
		t.Errorf("allowed %d, want %d", allowed, linesPerSecond)
	}
	if ok, dropped := r.allow(now.Add(time.Second)); !ok || dropped != 2*linesPerSecond {
		t.Errorf("a second later: %v, %d dropped", ok, dropped)
	}
	if r.flush() != 0 {
		t.Error("told twice")
	}
}

func TestTheLastLinesAreKeptInOrder(t *testing.T) {
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
	var b logBuffer
	s := newStderr(logging.New(&b, "supervisor", slog.LevelInfo), time.Now)
	s.pump(strings.NewReader("before\npanic: oh\n\ngoroutine 1 [running]:\n"))
	var levels []string
	for _, line := range b.lines(t, "worker_stderr_received") {
		levels = append(levels, line["level"].(string))
	}
	if strings.Join(levels, " ") != "INFO WARN WARN" {
		t.Errorf("levels %v", levels)
	}
}

func TestTheFirstLinesOfADeathAreKept(t *testing.T) {
	s := newStderr(slog.New(slog.DiscardHandler), time.Now)
	s.pump(strings.NewReader("before\nSIGQUIT: quit\n" + strings.Repeat("\tframe\n", 10*keptLines)))
	got := s.record()
	if len(got) != dyingLines || got[0] != "SIGQUIT: quit" {
		t.Errorf("kept %d lines from %q on", len(got), got[0])
	}
	if short := excerpt(got); len(short) == 0 || short[0] != got[0] || len(short) > 100 {
		t.Errorf("excerpt of %d lines from %q on", len(short), short[0])
	}
}

func TestAnExcerptIsSmall(t *testing.T) {
	long := make([]string, 100)
	for i := range long {
		long[i] = strings.Repeat("x", maxRaw)
	}
	size := 0
	for _, line := range excerpt(long) {
		size += len(line)
	}
	if size == 0 || size > stderrBytesInRecord {
		t.Errorf("excerpt has %d bytes", size)
	}
	if got := excerpt([]string{"a", "b"}); len(got) != 2 {
		t.Errorf("excerpt() = %v", got)
	}
}

func TestCheckHandshake(t *testing.T) {
	for line, says := range map[string]string{
		"1|2|unix|/tmp/s|grpc|Q0VSVA\n": "",
		"":                              "no handshake",
		"hello":                         "no handshake",
		"1|x|unix|/tmp/s":               "no handshake",
		"2|2|unix|/tmp/s|grpc":          "go-plugin's protocol",
		"1|1|unix|/tmp/s|grpc":          "protocol version 1",
		"1|2|tcp|127.0.0.1:1|grpc":      "not on a unix socket",
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

// listen answers at the profile's socket, as a live Chrome would.
func listen(t *testing.T, r *rig) {
	t.Helper()
	l, err := net.Listen("unix", r.path("s"))
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	must(t, os.Symlink(r.path("s"), r.path("tokens/admin/SingletonSocket")))
}
