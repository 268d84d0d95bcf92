package proctree

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if err := BecomeSubreaper(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// startShell runs a script that prints one line when everything is in place,
// and returns its command and that line. Its standard output stays open in
// the processes that the script leaves behind.
func startShell(t *testing.T, script string) (*exec.Cmd, string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := Below(nil).Kill(ctx); err != nil {
			t.Errorf("cleanup: %v", err)
		}
	})
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("script said nothing: %v", err)
	}
	return cmd, strings.TrimSpace(line)
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func gone(t *testing.T, pids string) {
	t.Helper()
	for field := range strings.FieldsSeq(pids) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := Find(pid); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("process %d is still there: %+v, %v", pid, p, err)
		}
	}
}

func TestKillEndsEveryKindOfDescendant(t *testing.T) {
	tests := map[string]string{
		"child":                   `sleep 600 & echo $!; wait`,
		"ignores signals":         `trap '' TERM INT HUP; sleep 600 & echo $!; wait`,
		"own session":             `setsid sleep 600 & sleep 0.05; echo $!; wait`,
		"double fork and session": `(setsid sh -c 'echo $$; exec sleep 600' &) ; exec sleep 600`,
		"stopped":                 `sleep 600 & kill -STOP $!; echo $!; wait`,
		"zombie's parent":         `sh -c 'true & exec sleep 600' & echo $!; wait`,
		"wide and deep":           `for i in 1 2 3 4 5; do sh -c 'sleep 600 & sleep 600 & wait' & p="$p $!"; done; echo $p; wait`,
	}
	for name, script := range tests {
		t.Run(name, func(t *testing.T) {
			_, pids := startShell(t, script)
			tree := Below(nil)
			if err := tree.Kill(within(t, 10*time.Second)); err != nil {
				t.Fatal(err)
			}
			gone(t, pids)
			if tree.Killed() == 0 {
				t.Error("Killed() = 0")
			}
		})
	}
}

func TestKillEndsAForkBomb(t *testing.T) {
	startShell(t, `echo on; while :; do (setsid sleep 600 &); done`)
	if err := Below(nil).Kill(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if left, err := Descendants(os.Getpid()); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestKillLeavesTheStatusToTheStarter(t *testing.T) {
	cmd, _ := startShell(t, `echo on; exec sleep 600`)
	tree := Below(nil)
	tree.Spare(cmd.Process.Pid)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	if err := tree.Kill(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	err := <-done
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatalf("Wait() = %v, want an exit status", err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Errorf("status = %v, want killed", exit)
	}
}

func TestWaitReturnsWhenTheTreeIsEmpty(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	// The orphan ends with 7 when its standard input is closed.
	cmd := exec.Command("/bin/sh", "-c", `sh -c 'read x; exit 7' <&3 >/dev/null 2>&1 & echo $!`)
	cmd.ExtraFiles = []*os.File{r}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	tree := Below(nil)

	err = tree.Wait(within(t, 50*time.Millisecond))
	left, ok := errors.AsType[*LeftoverError](err)
	if !ok || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Wait() = %v, want a LeftoverError at its deadline", err)
	}
	if len(left.Processes) != 1 || left.Processes[0].PID != pid {
		t.Errorf("left = %v, want pid %d", left.Processes, pid)
	}

	_ = w.Close()
	if err := tree.Wait(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	if status, _, ok := tree.Exit(pid); !ok || status.ExitStatus() != 7 {
		t.Errorf("Exit(%d) = %v, %v, want 7", pid, status, ok)
	}
	if tree.Killed() != 0 {
		t.Errorf("Killed() = %d, want 0", tree.Killed())
	}
}

// adopted returns the pid that a script printed, once its process is our child: before
// that its parent might reap it.
func adopted(t *testing.T, ctx context.Context, line string) int {
	t.Helper()
	orphan, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	for {
		p, err := Find(orphan)
		if err != nil || ctx.Err() != nil {
			t.Fatalf("the orphan was not adopted: %+v, %v", p, err)
		}
		if p.PPID == os.Getpid() {
			return orphan
		}
	}
}

func TestReapCollectsAdoptedZombiesOnly(t *testing.T) {
	cmd, line := startShell(t, `(sleep 600 & echo $!) ; exec sleep 600`)
	ctx := within(t, 10*time.Second)
	orphan := adopted(t, ctx, line)
	if err := syscall.Kill(orphan, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	tree := Below(nil)
	tree.Spare(cmd.Process.Pid)
	for {
		if err := tree.Reap(); err != nil {
			t.Fatal(err)
		}
		if status, _, ok := tree.Exit(orphan); ok {
			if status.Signal() != syscall.SIGTERM {
				t.Errorf("status = %v, want terminated", status)
			}
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the orphan was not reaped")
		}
	}
	if err := syscall.Kill(cmd.Process.Pid, 0); err != nil {
		t.Errorf("the child is gone: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

func TestRecycledPIDIsNotKilled(t *testing.T) {
	cmd, _ := startShell(t, `echo on; exec sleep 600`)
	p, err := Find(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	p.Start--
	if signalOne(p, syscall.SIGKILL) {
		t.Error("signalOne() = true for a recycled pid")
	}
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("process was hit: %v", err)
	}
}

func TestParseStat(t *testing.T) {
	rest := " S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 0 0"
	tests := []struct {
		in   string
		want Process
		bad  bool
	}{
		{in: "12 (sh)" + rest, want: Process{PID: 12, PPID: 7, State: 'S', Comm: "sh", Start: 4711}},
		{in: "12 (a) Z 1 (b) c)" + rest, want: Process{PID: 12, PPID: 7, State: 'S', Comm: "a) Z 1 (b) c", Start: 4711}},
		{in: "", bad: true},
		{in: "12 sh S 7", bad: true},
		{in: "12 (sh) S 7", bad: true},
		{in: "12 (sh)" + strings.Replace(rest, "7", "y", 1), bad: true},
		{in: "12 (sh)" + strings.Replace(rest, "4711", "-", 1), bad: true},
	}
	for _, tt := range tests {
		got, err := parseStat(12, tt.in)
		if (err != nil) != tt.bad || got != tt.want {
			t.Errorf("parseStat(%q) = %+v, %v", tt.in, got, err)
		}
	}
}

func TestContinueResumesAllButTheNamed(t *testing.T) {
	_, line := startShell(t, `sleep 100 & a=$!; sleep 100 & b=$!; kill -STOP $a $b; echo $a $b; wait`)
	first, second, _ := strings.Cut(line, " ")
	but, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	woken, err := strconv.Atoi(second)
	if err != nil {
		t.Fatal(err)
	}
	awaitStop(but)
	awaitStop(woken)
	if err := Below(nil).Continue(but); err != nil {
		t.Fatal(err)
	}
	for pid, stopped := range map[int]bool{but: true, woken: false} {
		p, err := Find(pid)
		if err != nil || (p.State == Stopped) != stopped {
			t.Errorf("process %d: state %c, %v; stopped should be %v", pid, p.State, err, stopped)
		}
	}
}

// awaitStop waits for a process that was sent SIGSTOP.
func awaitStop(pid int) {
	for p, err := Find(pid); err == nil && p.State != Stopped; p, err = Find(pid) {
		time.Sleep(time.Millisecond)
	}
}

// oneProcessor is one of those that this process may use.
func oneProcessor(t *testing.T) (one unix.CPUSet) {
	t.Helper()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for i := 0; one.Count() == 0; i++ {
		if all.IsSet(i) {
			one.Set(i)
		}
	}
	return one
}

// Two processes that want the same processor wait for it in turns; one that is stopped does not.
func TestWaitedIsTimeWithoutAProcessor(t *testing.T) {
	one := oneProcessor(t)
	pids := make([]int, 2)
	for i := range pids {
		cmd, _ := startShell(t, "echo; while :; do :; done")
		pids[i] = cmd.Process.Pid
		if err := unix.SchedSetaffinity(pids[i], &one); err != nil {
			t.Fatal(err)
		}
	}
	waited := func(pid int) time.Duration {
		d, err := Waited(pid)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	before := waited(pids[0])
	for ctx := within(t, time.Minute); waited(pids[0])-before < 200*time.Millisecond; {
		if ctx.Err() != nil {
			t.Fatal("it does not wait")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := syscall.Kill(pids[0], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	awaitStop(pids[0])
	before = waited(pids[0])
	time.Sleep(300 * time.Millisecond)
	if more := waited(pids[0]) - before; more > 0 {
		t.Errorf("it has waited for %s more while it was stopped", more)
	}
	if _, err := Waited(1 << 30); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no process: %v", err)
	}
}

func TestTreeMemoryIsThatOfTheWholeTree(t *testing.T) {
	startShell(t, `echo on; exec sleep 600`)
	own, tree := Memory(os.Getpid()), TreeMemory(os.Getpid())
	if own < 1<<20 || tree <= own || tree > 1<<30 {
		t.Errorf("own memory: %d bytes, that of the tree: %d", own, tree)
	}
	if gone := TreeMemory(1 << 30); gone != 0 {
		t.Errorf("memory of nobody: %d bytes", gone)
	}
}

func TestHandleFollowsOneProcess(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := Find(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	h, err := p.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := (Process{PID: p.PID, Start: p.Start + 1}).Open(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("one with its number: %v", err)
	}
	await := func(state byte) {
		t.Helper()
		for {
			now, err := h.Look()
			if err != nil || now.PID != cmd.Process.Pid {
				t.Fatalf("%+v, %v", now, err)
			}
			if now.State == state {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
	for _, step := range []struct {
		signal syscall.Signal
		state  byte
	}{{syscall.SIGSTOP, Stopped}, {syscall.SIGCONT, 'S'}, {syscall.SIGKILL, Zombie}} {
		if err := cmd.Process.Signal(step.signal); err != nil {
			t.Fatal(err)
		}
		await(step.state)
	}
	_ = cmd.Wait() // killed
	if now, err := h.Look(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%+v, %v", now, err)
	}
	if _, err := p.Open(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("opened: %v", err)
	}
}

func TestReadOfAProcessThatFailsIsEmpty(t *testing.T) {
	f, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if p, err := (Handle{stat: int(f.Fd())}).Look(); p != (Process{}) || err == nil { // nothing is mapped at 0
		t.Errorf("%+v, %v", p, err)
	}
}
