package profile

import (
	"strings"
	"testing"
	"time"

	"session-manager/shared/reason"
)

var (
	boot = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	made = boot.Add(time.Hour)
)

// lockOf is evidence of a lock made on this host after boot, on a local disk,
// with nobody at the socket and no process of that pid.
func lockOf(change func(*evidence)) evidence {
	e := evidence{
		lock: lockName{host: "here", pid: 4242}, target: "here-4242", made: made,
		host: "here", boot: boot, bootID: "b2", local: true,
	}
	change(&e)
	return e
}

// older and younger than the lock, respectively.
func older(e *evidence) {
	e.process = suspect{exists: true, name: "x", started: made.Add(-time.Minute), start: 11}
}

func younger(e *evidence) {
	e.process = suspect{exists: true, name: "x", started: made.Add(time.Minute), start: 99}
}

func TestJudge(t *testing.T) {
	const inUse = LockState("")
	tests := map[string]struct {
		change func(*evidence)
		want   LockState
		says   string
	}{
		"dead pid":                      {func(*evidence) {}, StaleDead, ""},
		"pid given to a plain process":  {func(e *evidence) { younger(e) }, StaleRecycled, ""},
		"pid given to another Chrome":   {func(e *evidence) { younger(e); e.process.chrome = true }, StaleRecycled, ""},
		"started with the lock":         {func(e *evidence) { older(e); e.process.started = made; e.process.chrome = true }, inUse, "pid 4242"},
		"older, but no Chrome":          {older, StaleNotChrome, ""},
		"older Chrome, another profile": {func(e *evidence) { older(e); e.process.chrome, e.process.elsewhere = true, true }, StaleElsewhere, ""},
		"older Chrome, no more known":   {func(e *evidence) { older(e); e.process.chrome = true }, inUse, "pid 4242"},
		"older, has our files open":     {func(e *evidence) { older(e); e.process.holds = true }, inUse, "pid 4242"},
		"younger, has our files open":   {func(e *evidence) { younger(e); e.process.holds = true }, inUse, "pid 4242"},
		"made before boot":              {func(e *evidence) { e.made = boot.Add(-time.Hour) }, StaleBoot, ""},
		"before boot, old Chrome":       {func(e *evidence) { e.made = boot.Add(-time.Hour); older(e); e.process.chrome = true }, StaleBoot, ""},
		"before boot, other host":       {func(e *evidence) { e.made = boot.Add(-time.Hour); e.lock.host = "there" }, StaleBoot, ""},
		"socket answers":                {func(e *evidence) { e.socket, e.peer = socketAlive, 77 }, inUse, "pid 77"},
		"socket answers, peer unseen":   {func(e *evidence) { e.socket = socketAlive }, inUse, "pid 4242"},
		"socket answers, other host":    {func(e *evidence) { e.socket = socketAlive; e.lock.host = "there" }, inUse, "socket"},
		"socket answers, before boot":   {func(e *evidence) { e.socket = socketAlive; e.made = boot.Add(-time.Hour) }, inUse, "socket"},
		"socket of another user":        {func(e *evidence) { e.socket = socketUnknown }, inUse, "another user"},
		"other host, local disk":        {func(e *evidence) { e.lock.host = "there" }, StaleOtherHost, ""},
		"other host, plain process":     {func(e *evidence) { e.lock.host = "there"; older(e) }, StaleOtherHost, ""},
		"other host, a Chrome here":     {func(e *evidence) { e.lock.host = "there"; older(e); e.process.chrome = true }, inUse, "4242"},
		"other host, shared disk":       {func(e *evidence) { e.lock.host = "there"; e.local = false }, inUse, "remove SingletonLock"},
		"own, host renamed, shared disk": {func(e *evidence) {
			e.lock.host, e.local = "there", false
			e.launched = launch{Target: "here-4242", BootID: "b2", Start: 11}
		}, StaleOwn, ""},
		"own, pid given to another Chrome": {func(e *evidence) {
			younger(e)
			e.process.chrome = true
			e.launched = launch{Target: "here-4242", BootID: "b2", Start: 11}
		}, StaleOwn, ""},
		"own, lives without its lease": {func(e *evidence) {
			older(e)
			e.process.chrome = true
			e.launched = launch{Target: "here-4242", BootID: "b2", Start: 11}
		}, inUse, "lost its lease"},
		"own of an earlier boot, same ticks": {func(e *evidence) {
			older(e)
			e.launched = launch{Target: "here-4242", BootID: "b1", Start: 11}
		}, StaleOwn, ""},
		"own, but somebody answers": {func(e *evidence) {
			e.socket = socketAlive
			e.launched = launch{Target: "here-4242"}
		}, inUse, "socket"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := judge(lockOf(tt.change))
			if got != tt.want || (err != nil) != (tt.want == inUse) {
				t.Fatalf("judge() = %q, %v; want %q", got, err, tt.want)
			}
			if err == nil {
				return
			}
			if code := reason.Of(err, ""); code != reason.ProfileInUse {
				t.Errorf("reason %q", code)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %q does not say %q", err, tt.says)
			}
		})
	}
}

func TestParseLock(t *testing.T) {
	for target, want := range map[string]lockName{
		"vm-12":        {"vm", 12},
		"web-1.eu-7-9": {"web-1.eu-7", 9},
		"-5":           {"", 5},
		"nodash":       {},
		"-":            {},
		"vm-":          {},
		"vm-abc":       {},
		"vm-0":         {},
		"":             {},
	} {
		if got, ok := parseLock(target); got != want || ok != (want.pid != 0) {
			t.Errorf("parseLock(%q) = %+v, %v", target, got, ok)
		}
	}
}

func TestIsChrome(t *testing.T) {
	for exe, want := range map[string]bool{
		"/opt/google/chrome/chrome":            true,
		"/opt/google/chrome/chrome (deleted)":  true,
		"/usr/lib/chromium/chromium":           true,
		"/x/chrome-headless-shell":             true,
		"/x/headless_shell":                    true,
		"/usr/bin/bash":                        false,
		"/home/chromium/bin/python3":           false,
		"/home/chromium/bin/python3 (deleted)": false,
	} {
		if got := isChrome(exe); got != want {
			t.Errorf("isChrome(%q) = %v", exe, got)
		}
	}
}
