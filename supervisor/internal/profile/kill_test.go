package profile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"session-manager/supervisor/internal/profile/profiletest"
)

// moves are what the test binary does as the role of that name, until it is killed.
var moves = map[string]func(t *testing.T, p *Profile) error{
	"restore": func(t *testing.T, p *Profile) error {
		all, err := p.Backups.List()
		if err != nil {
			return err
		}
		_, err = p.Restore(t.Context(), all[0], Former{QuarantinedAt: t0, Why: "login_missing"})
		return err
	},
	"quarantine": func(t *testing.T, p *Profile) error {
		_, err := p.Quarantine(t.Context(), Former{QuarantinedAt: t0, Why: "login_missing"})
		return err
	},
	"erase": func(t *testing.T, p *Profile) error { return p.Erase(t.Context()) },
}

// TestMover is what the others start and kill.
func TestMover(t *testing.T) {
	move := moves[os.Getenv(envRole)]
	if move == nil {
		t.Skip("it is started by TestKilledMoverLeavesAWholeProfile")
	}
	p, err := Open(os.Getenv(envFolder))
	must(t, err)
	must(t, move(t, p))
}

// A mover that is killed anywhere leaves the former profile or the next one, whole, and
// never loses the former.
func TestKilledMoverLeavesAWholeProfile(t *testing.T) {
	for _, place := range profiletest.Places {
		for move, next := range map[string]string{"restore": "login", "quarantine": "", "erase": ""} {
			if !*thorough && (move != "restore" || place.Name != "plain folder" && place.Name != "link") {
				continue
			}
			t.Run(place.Name+"/"+move, func(t *testing.T) {
				outcomes := map[string]int{}
				steps := moveAndKill(t, place, move, next, -1, outcomes)
				for n := range steps {
					if *thorough || steps[n] == unix.SYS_RENAMEAT {
						moveAndKill(t, place, move, next, n, outcomes)
					}
				}
				t.Logf("%d changes, outcomes: %v", len(steps), outcomes)
				if outcomes["former"] == 0 || outcomes["next"] == 0 {
					t.Errorf("outcomes: %v", outcomes)
				}
			})
		}
	}
}

// moveAndKill moves a profile in a place and kills the mover before its n-th change.
func moveAndKill(t *testing.T, place profiletest.Place, move, next string, n int, outcomes map[string]int) []uint64 {
	t.Helper()
	var steps []uint64
	t.Run(fmt.Sprint("before change ", n), func(t *testing.T) {
		tokens, check := place.Put(t, "login")
		p, err := Open(tokens)
		must(t, err)
		backUp(t, p, t0.Add(-time.Hour))
		profiletest.Fill(t, p.Dir(), "former")
		must(t, p.Close())

		steps = killBefore(t, n, move, tokens)
		again, err := Open(tokens)
		must(t, err)
		defer func() { _ = again.Close() }()
		check()
		quarantined := namesIn(t, again.tokens.path("quarantine"))
		found := profiletest.Content(t, again.Dir())["Default/IndexedDB/wa/000004.ldb"]
		if found == "former" {
			outcomes["former"]++
			wantIn(t, again.Dir(), "former")
			if len(quarantined) > 0 {
				t.Errorf("in quarantine, although nothing was moved: %v", quarantined)
			}
			return
		}
		outcomes["next"]++
		wantIn(t, again.Dir(), next)
		if move == "erase" {
			return
		}
		if len(quarantined) != 1 {
			t.Fatalf("in quarantine: %v", quarantined)
		}
		wantIn(t, filepath.Join(again.tokens.path("quarantine"), quarantined[0]), "former")
	})
	return steps
}

// killBefore runs a mover until it is about to make its n-th change on disk and kills it
// there, or waits for its end. It returns the system calls of the changes until then.
func killBefore(t *testing.T, n int, move, tokens string) (steps []uint64) {
	t.Helper()
	runtime.LockOSThread() // only one thread may trace it
	defer runtime.UnlockOSThread()
	attr := &syscall.ProcAttr{
		Env:   append(os.Environ(), envRole+"="+move, envFolder+"="+tokens),
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Ptrace: true, Setpgid: true},
	}
	mover, err := syscall.ForkExec("/proc/self/exe", []string{"mover", "-test.run=^TestMover$"}, attr)
	if err != nil {
		t.Skipf("needs the right to trace a process: %v", err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(mover, &status, 0, nil); err != nil || !status.Stopped() {
		t.Skipf("needs the right to trace a process: %v, %x", err, status)
	}
	must(t, unix.PtraceSetOptions(mover, unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_EXITKILL))
	ended := 0
	for thread := mover; err == nil; thread, err = unix.Wait4(-mover, &status, unix.WALL, nil) {
		switch {
		case status.Stopped():
			if call, ok := change(thread, status); ok {
				steps = append(steps, call)
				if len(steps)-1 == n {
					must(t, unix.Kill(-mover, unix.SIGKILL))
				}
			}
			_ = unix.PtraceSyscall(thread, passed(status)) // it may be gone
		case thread == mover:
			ended = status.ExitStatus()
		}
	}
	if n < 0 && (ended != 0 || !errors.Is(err, unix.ECHILD)) {
		t.Fatalf("the mover ended with %d, %v", ended, err)
	}
	return steps
}

// passed is the signal that a stopped thread gets: none if the tracing stopped it.
func passed(status unix.WaitStatus) int {
	switch s := status.StopSignal(); s {
	case unix.SIGTRAP, unix.SIGTRAP | 0x80, unix.SIGSTOP:
		return 0
	default:
		return int(s)
	}
}

// change returns the system call that a stopped thread is about to make, if it changes what
// is in a folder.
func change(thread int, status unix.WaitStatus) (call uint64, ok bool) {
	if status.StopSignal() != unix.SIGTRAP|0x80 {
		return 0, false
	}
	var info struct {
		op   uint8
		_    [23]byte
		call uint64
		args [6]uint64
	}
	if _, _, err := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(thread), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0); err != 0 {
		return 0, false
	}
	switch info.call {
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_UNLINKAT, unix.SYS_MKDIRAT:
		ok = true
	case unix.SYS_OPENAT:
		ok = info.args[2]&unix.O_CREAT != 0
	}
	return info.call, ok && info.op == unix.PTRACE_SYSCALL_INFO_ENTRY
}
