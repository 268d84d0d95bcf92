package worker

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
		"\x1b[31mred\x00 [login]", strings.Repeat("y", 4<<10), "end of poison"}
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
func patient(o *Options) { o.Timings.Run.Silence = patience }

func TestFloodOnStderrIsCountedAndBlocksNobody(t *testing.T) {
	begun := time.Now()
	r := newRig(t, "flood", patient).start() // 25 MB
	awaitEvent[rpc.PageObserved](r)
	r.stop()
	if size, took := len(r.log.text()), time.Since(begun); size > max(1<<20, int(took/time.Second)*(64<<10)) {
		t.Errorf("the log has %d bytes after %v", size, took)
	}
	dropped := 0.0
	for _, line := range r.log.lines(t, "worker_stderr_dropped") {
		dropped += line["lines"].(float64)
	}
	logged := len(r.log.lines(t, "worker_stderr_received"))
	if int(dropped)+logged < 250_000 {
		t.Errorf("%v dropped and %d logged of 250000 lines", dropped, logged)
	}
}

func TestStdoutAfterTheHandshakeIsCountedAndDropped(t *testing.T) {
	r := newRig(t, "stdout flood", patient).start()
	awaitEvent[rpc.PageObserved](r)
	r.stop()
	if got := r.exitLine()["stdout_bytes_dropped"]; got != float64(32<<20) {
		t.Errorf("dropped %v bytes", got)
	}
}

func TestWorkersEnvironmentIsAllowListed(t *testing.T) {
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
	if slack := got["timer slack"]; slack != "250000" {
		t.Errorf("the kernel may wake it %s ns late", slack)
	}
	delete(got, "timer slack")
	if got["GODEBUG"] != "gcshrinkstackoff=1" {
		t.Errorf("its stacks become smaller: GODEBUG is %q", got["GODEBUG"])
	}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TZ", "DISABLE_ROD_FLAG", "GODEBUG"} {
		if got[name] == "" {
			t.Errorf("%s is missing", name)
		}
		delete(got, name)
	}
	for name, value := range got {
		if value == "leaked" || !strings.HasPrefix(name, "PLUGIN_") && name != "LANG" && !strings.HasPrefix(name, "SESSION_MANAGER_PLUGIN_") {
			t.Errorf("%s=%.40s is there", name, value)
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
