package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-rod/rod/lib/cdp"
	"github.com/go-rod/rod/lib/proto"
	"github.com/google/go-cmp/cmp"

	"session-manager/shared/chrome"
	"session-manager/shared/reason"
)

// pipes returns our side of a connection, and the two ends that Chrome has.
func pipes(t *testing.T) (p *pipe, commands, answers *os.File) {
	t.Helper()
	commands, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	theirs, answers, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p = newPipe(ours, theirs)
	t.Cleanup(func() {
		p.Close()
		_ = commands.Close()
		_ = answers.Close()
	})
	return p, commands, answers
}

func TestPipeCarriesMessagesOfAnySize(t *testing.T) {
	p, commands, answers := pipes(t)
	if err := p.Send([]byte(`{"id":1}`)); err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, 9)
	if _, err := io.ReadFull(commands, sent); err != nil || string(sent) != "{\"id\":1}\x00" {
		t.Errorf("Chrome reads %q, %v", sent, err)
	}
	long := []byte(`{"id":2,"result":"` + strings.Repeat("x", 1<<20) + `"}`)
	go func() { _, _ = answers.Write(slices.Concat([]byte("{\"id\":1}\x00"), long, []byte{0})) }()
	for _, want := range [][]byte{[]byte(`{"id":1}`), long} {
		if got, err := p.Read(); err != nil || !bytes.Equal(got, want) {
			t.Errorf("read %d bytes, %v; want %d", len(got), err, len(want))
		}
	}
}

func TestOnlyAnswersProveThatChromeResponds(t *testing.T) {
	p, _, answers := pipes(t)
	b := &Browser{pipe: p}
	for _, tt := range []struct {
		message string
		want    bool
	}{
		{`{"method":"Page.frameNavigated","params":{}}`, false},
		{`{"id":1,"result":{}}`, true},
		{`{"id":2,"error":{"code":-32000,"message":"x"}}`, true},
		{`{"method":"Page.frameNavigated","params":{}}`, false},
	} {
		before := b.Answered()
		if _, err := answers.WriteString(tt.message + "\x00"); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Read(); err != nil {
			t.Fatal(err)
		}
		if got := b.Answered().After(before); got != tt.want {
			t.Errorf("%s: an answer: %v", tt.message, got)
		}
	}
}

func TestPipeGivesUpOnAStalledReader(t *testing.T) {
	p, _, _ := pipes(t)
	p.writeLimit = 50 * time.Millisecond
	err := p.Send(make([]byte, 1<<20))
	if !errors.Is(err, ErrGone) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("send: %v", err)
	}
	if err := p.Send([]byte("{}")); !errors.Is(err, ErrGone) {
		t.Errorf("send afterwards: %v", err)
	}
	if _, err := p.Read(); !errors.Is(err, ErrGone) {
		t.Errorf("read afterwards: %v", err)
	}
}

func TestPipeCloseFreesABlockedSend(t *testing.T) {
	p, _, _ := pipes(t)
	blocked := make(chan error)
	go func() { blocked <- p.Send(make([]byte, 1<<20)) }()
	p.Close()
	if err := <-blocked; !errors.Is(err, ErrGone) {
		t.Errorf("send: %v", err)
	}
}

func TestPipeEndsAtAnInvalidMessage(t *testing.T) {
	for _, message := range []string{"", "x", "[]", `{"id":"1"}`, `{"method":1}`, `{"id":1,"error":"e"}`} {
		p, _, answers := pipes(t)
		if _, err := answers.WriteString(message + "\x00"); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Read(); !errors.Is(err, ErrGone) {
			t.Errorf("%q: read gave %v", message, err)
		}
	}
}

// TestCallsFailWhenChromeIsGone covers rod's client in our hands: a call that
// waits, and one that is blocked in Send, both without a deadline of their own.
func TestCallsFailWhenChromeIsGone(t *testing.T) {
	p, commands, answers := pipes(t)
	client := &boundedClient{Client: cdp.New().Start(p)}
	errs := make(chan error)
	call := func(params any) {
		_, err := client.Call(context.Background(), "", "Some.method", params)
		errs <- err
	}
	go call(nil)
	if _, err := commands.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	go call(strings.Repeat("x", 1<<20))
	_ = commands.Close()
	_ = answers.Close()
	for range 2 {
		if err := <-errs; !errors.Is(err, ErrGone) {
			t.Errorf("call: %v", err)
		}
	}
	if _, open := <-client.Event(); open {
		t.Error("the reader is still running")
	}
}

// TestHeldTargetsAreLetGoInAnyCase wants of a Chrome that answers nothing that each held target is
// still let go, after what it should have answered unless there are too many.
func TestHeldTargetsAreLetGoInAnyCase(t *testing.T) {
	p, commands, answers := pipes(t)
	d := disguise{client: &boundedClient{Client: cdp.New().Start(p)}, held: make(chan struct{}, 2)}
	attach := func(session, kind string) {
		d.attached(&cdp.Event{Params: fmt.Appendf(nil, `{"sessionId":%q,"targetInfo":{"type":%q},"waitingForDebugger":true}`, session, kind)})
	}
	attach("early", "worker") // before there is an identity
	d.identity.Store(&proto.EmulationSetUserAgentOverride{})
	d.attached(&cdp.Event{Params: []byte(`{"waitingForDebugger":true}`)})
	d.attached(&cdp.Event{Params: []byte(`[]`)})
	attach("first", "worker")
	attach("second", "service_worker")
	attach("third", "worker") // one too many
	got, reader := map[string][]string{}, bufio.NewReader(commands)
	for range 6 {
		message, err := reader.ReadBytes(0)
		if err != nil {
			t.Fatal(err)
		}
		var call struct{ SessionID, Method string }
		if err := json.Unmarshal(message[:len(message)-1], &call); err != nil {
			t.Fatal(err)
		}
		got[call.SessionID] = append(got[call.SessionID], call.Method)
	}
	slices.Sort(got["first"][:2]) // at once
	want := map[string][]string{
		"first":  {"Emulation.setUserAgentOverride", "Target.setAutoAttach", "Runtime.runIfWaitingForDebugger"},
		"second": {"Emulation.setUserAgentOverride", "Runtime.runIfWaitingForDebugger"},
		"third":  {"Runtime.runIfWaitingForDebugger"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("calls: %v", got)
	}
	_ = commands.Close()
	_ = answers.Close()
	for range cap(d.held) { // until all have ended
		d.held <- struct{}{}
	}
}

func TestTailKeepsTheLastLinesHarmless(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string
	}{
		{"lines", "a\nb\r\n\nc", []string{"a", "b", "", "c"}},
		{"control characters", "a\x1b[31m\x00\xff\u2028b\n", []string{`a\x1b[31m\x00\xff\u2028b`}},
		{"a QR payload", "qr 2@abcdefghijkl,AAAA,BBBB\n", []string{"qr [login]"}},
		{"a long line", strings.Repeat("x", 3*tailLineSize) + "\nb\n", []string{strings.Repeat("x", tailLineSize), "b"}},
		{"a long line that grows", strings.Repeat("\x01", tailLineSize), []string{strings.Repeat(`\x01`, tailLineSize/4)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tail := &tail{}
			tail.readFrom(strings.NewReader(tt.in))
			if diff := cmp.Diff(tt.want, tail.last()); diff != "" {
				t.Error(diff)
			}
		})
	}
	tail := &tail{}
	tail.readFrom(strings.NewReader(strings.Repeat("old\n", 10) + strings.Repeat("new\n", tailLines-1) + "last"))
	if got := tail.last(); len(got) != tailLines || got[0] != "new" || got[tailLines-1] != "last" {
		t.Errorf("%d lines from %q to %q", len(got), got[0], got[len(got)-1])
	}
}

func TestTailCountsNoise(t *testing.T) {
	const missing = "[1:2:1124/104334.425:ERROR:dbus/bus.cc:405] Failed to connect to the bus: no such file\n"
	tail := &tail{}
	tail.readFrom(strings.NewReader("cause\n" + strings.Repeat(missing, 2*tailLines) +
		"[1:2:ERROR:third_party/x.cc:145] open /sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq: none\n" +
		"a page about dbus/bus.cc\n"))
	want := []string{fmt.Sprintf("(%d lines about D-Bus and the like are left out)", 2*tailLines+1), "cause", "a page about dbus/bus.cc"}
	if diff := cmp.Diff(want, tail.last()); diff != "" {
		t.Error(diff)
	}
}

func TestDiagnosePrefersFacts(t *testing.T) {
	inUse := Exit{Code: profileInUse}
	tests := []struct {
		name    string
		exit    Exit
		stderr  []string
		profile profileState
		want    reason.Code
		text    string
	}{
		{"lock", inUse, nil, profileState{lock: "vm-7"}, reason.ProfileInUse, "vm-7"},
		{"odd lock", inUse, nil, profileState{oddLock: true}, reason.ProfileUnwritable, "not a symbolic link"},
		{"read-only", inUse, nil, profileState{unwritable: syscall.EROFS}, reason.ProfileUnwritable, "read-only"},
		{"read-only before lock", inUse, nil, profileState{lock: "vm-7", unwritable: syscall.EACCES}, reason.ProfileUnwritable, "permission"},
		{"sandbox before all", inUse, []string{"x:FATAL:y No usable sandbox!"}, profileState{lock: "vm-7"}, reason.SandboxRefused, "No usable"},
		{"fatal line", Exit{Code: -1, Signal: "aborted"}, []string{"a", "b:FATAL:c", "d"}, profileState{}, reason.BrowserStartFailed, "b:FATAL:c"},
		{"last line", Exit{Code: 1}, []string{"a", "cause"}, profileState{}, reason.BrowserStartFailed, "cause"},
		{"silence", Exit{Code: 1}, nil, profileState{}, reason.BrowserStartFailed, "nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, detail := diagnose(tt.exit, tt.stderr, tt.profile)
			if code != tt.want || !strings.Contains(detail, tt.text) {
				t.Errorf("got %s %q, want %s with %q", code, detail, tt.want, tt.text)
			}
		})
	}
}

func TestCommandLineEndsWithTheOperatorsFlags(t *testing.T) {
	args := commandLine("/p", "UA", host{}, []string{"--proxy-server=socks5://localhost:1", "--disable-features=Mine"})
	if got := args[len(args)-1]; got != "--proxy-server=socks5://localhost:1" {
		t.Errorf("last flag is %q", got)
	}
	features := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, "--disable-features=") })
	if !strings.HasSuffix(args[features], ",Mine") || !strings.Contains(args[features], "WebUIOmniboxPopup") {
		t.Errorf("features are not merged: %q", args[features])
	}
	for _, want := range []string{"--headless=new", "--remote-debugging-pipe", "--user-data-dir=/p", "--profile-directory=Default", "--user-agent=UA"} {
		if !slices.Contains(args, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if chrome.DisablesSandbox(args) {
		t.Error("the sandbox is off without need")
	}
	if !chrome.DisablesSandbox(commandLine("/p", "UA", host{root: true}, nil)) {
		t.Error("root can't run Chrome with the sandbox")
	}
	if !slices.Contains(commandLine("/p", "UA", host{smallSharedMemory: true}, nil), "--disable-dev-shm-usage") {
		t.Error("little shared memory is not heeded")
	}
}

func TestCommandLineNamesEachFlagOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range baseFlags("/p", "UA") {
		if seen[f.name] || !strings.HasPrefix(f.name, "--") {
			t.Errorf("%s is there twice, or is not a flag", f.name)
		}
		seen[f.name] = true
	}
}

func TestHintsGiveTheFullVersionToRealBrands(t *testing.T) {
	brands := []*proto.EmulationUserAgentBrandVersion{
		{Brand: "Not:A-Brand", Version: "8"}, {Brand: "Chromium", Version: "156"}, {Brand: "Google Chrome", Version: "156"},
	}
	hints := hintsOf(brands, "156.0.1.2", "arm64")
	want := []*proto.EmulationUserAgentBrandVersion{
		{Brand: "Not:A-Brand", Version: "8.0.0.0"}, {Brand: "Chromium", Version: "156.0.1.2"}, {Brand: "Google Chrome", Version: "156.0.1.2"},
	}
	if diff := cmp.Diff(want, hints.FullVersionList); diff != "" {
		t.Error(diff)
	}
	if hints.Architecture != "arm" || hints.Bitness != "64" || hints.Platform != "Linux" {
		t.Errorf("hints: %+v", hints)
	}
}

func TestBrandsAreReadFromAHeader(t *testing.T) {
	for header, want := range map[string]string{
		`"Not:A-Brand";v="8", "Chromium";v="156", "Google Chrome";v="156"`:  "Not:A-Brand 8 Chromium 156 Google Chrome 156",
		`"HeadlessChrome";v="141", "Not?A_Brand";v="8", "Chromium";v="141"`: "Not?A_Brand 8 Chromium 141",
		`"Chromium";v="133", "Not(A;Brand,=";v="99"`:                        "Chromium 133 Not(A;Brand,= 99",
		`"HeadlessChrome";v="156"`:                                          "",
		`Chromium;v=156`:                                                    "",
		``:                                                                  "",
	} {
		brands, err := brandsIn(header)
		var got []string
		for _, b := range brands {
			got = append(got, b.Brand, b.Version)
		}
		if strings.Join(got, " ") != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %v, %v", header, got, err)
		}
	}
}

func TestScratchEnvironmentLacksDesktopAndSecrets(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "sm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	env, err := prepareScratch(dir, []string{
		"PATH=/bin", "TZ=UTC", "LANG=C", "HOME=/root", "DISPLAY=:0", "WAYLAND_DISPLAY=w", "DBUS_SESSION_BUS_ADDRESS=a",
		"http_proxy=p", "NOTIFY_SOCKET=n", "SECRET=s",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"HOME=" + dir + "/h", "TMPDIR=" + dir + "/t", "XDG_CONFIG_HOME=" + dir + "/h/cfg", "XDG_CACHE_HOME=" + dir + "/h/cache",
		"XDG_DATA_HOME=" + dir + "/h/data", "XDG_RUNTIME_DIR=" + dir + "/r", "BREAKPAD_DUMP_LOCATION=" + dir + "/d",
		"PATH=/bin", "TZ=UTC", "LANG=C",
	}
	if diff := cmp.Diff(want, env); diff != "" {
		t.Error(diff)
	}
}
