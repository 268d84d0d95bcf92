// Command fakeworker is a worker for the tests of package worker. It speaks
// the real protocol, and its "Chrome" is a shell that ends when the pipe to it is
// closed. What it does wrong is named by the file "mode" next to its binary.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/shared/lease"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

const beat = 50 * time.Millisecond

func main() {
	self, err := os.Executable()
	if err != nil {
		fatal(err)
	}
	mode, err := os.ReadFile(filepath.Join(filepath.Dir(self), "mode"))
	if err != nil {
		fatal(err)
	}
	w := &worker{mode: strings.TrimSpace(string(mode)), stderr: os.Stderr, stdout: os.Stdout, stop: make(chan struct{})}
	switch w.mode {
	case "exit7":
		os.Exit(7)
	case "panic":
		panic("the worker's programmer erred")
	case "silent":
		select {}
	case "garbage":
		fmt.Println("hello, world")
		select {}
	case "endless line":
		for {
			_, _ = os.Stdout.Write(bytes.Repeat([]byte("x"), 1<<16))
		}
	case "other version":
		fmt.Printf("1|%d|unix|/no/where|grpc|\n", rpc.ProtocolVersion+1)
		select {}
	case "dies connecting":
		fmt.Printf("1|%d|unix|/no/where|grpc|\n", rpc.ProtocolVersion)
		os.Exit(9)
	case "deaf":
		fmt.Printf("1|%d|unix|%s|grpc|\n", rpc.ProtocolVersion, filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s"))
		select {}
	case "frozen socket":
		path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s")
		if _, err := net.Listen("unix", path); err != nil {
			fatal(err)
		}
		fmt.Printf("1|%d|unix|%s|grpc|\n", rpc.ProtocolVersion, path)
		select {}
	case "starts Chrome at once":
		req, err := rpc.ReceiveRequest(os.Stdin)
		if err != nil {
			fatal(err)
		}
		if _, _, err := w.startChrome(req); err != nil { // the kernel closes its life line
			fatal(err)
		}
		if err := os.WriteFile(filepath.Join(req.ProfileDir, "begun"), nil, 0o600); err != nil {
			fatal(err)
		}
		select {}
	case "environment":
		slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		if err != nil {
			fatal(err)
		}
		all := append(os.Environ(), fmt.Sprintf("timer slack=%d", slack))
		fmt.Fprintln(os.Stderr, "ENV "+strings.ReplaceAll(strings.Join(all, "\x1f"), "\n", " "))
	}
	rpc.Serve(w)
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

type worker struct {
	mode           string
	stdout, stderr *os.File
	streamed       atomic.Bool
	once           sync.Once
	stop           chan struct{}
	chromeEnded    chan struct{}
}

// Events implements rpc.Worker.
func (w *worker) Events(ctx context.Context, emit func(rpc.Event) error) error {
	if w.streamed.Swap(true) {
		return rpc.ErrAlreadyStreaming
	}
	req, err := rpc.ReceiveRequest(os.Stdin)
	if err != nil {
		return err
	}
	var seq uint64
	say := func(body rpc.EventBody) error {
		seq++
		return emit(rpc.Event{Generation: req.Generation, Seq: seq, Body: body})
	}
	if err := say(rpc.PhaseChanged{Phase: rpc.PhaseBrowserStart}); err != nil {
		return err
	}
	if req.Mode == rpc.ModeVerify {
		if w.mode == "leaves" {
			return nil
		}
		return errors.Join(say(w.checkBackup(req)), w.live(ctx, say))
	}
	if w.mode == "no browser" {
		return w.live(ctx, say)
	}
	chrome, lifeline, err := w.startChrome(req)
	if err != nil {
		return err
	}
	defer func() { _ = lifeline.Close() }()
	w.chromeEnded = make(chan struct{})
	go func() {
		_ = chrome.Wait()
		close(w.chromeEnded)
	}()
	started := rpc.BrowserStarted{PID: chrome.Process.Pid, Product: "Fake/1"}
	if w.mode == "closes early" {
		if err := errors.Join(os.Remove(filepath.Join(req.ProfileDir, "SingletonLock")), say(started)); err != nil {
			return err
		}
	} else if err := say(started); err != nil {
		return err
	}
	if err := errors.Join(w.misbehave(req, say, emit), w.attack(req, say, emit)); err != nil {
		return err
	}
	if err := say(rpc.PageObserved{Condition: rpc.PageUnlinked, Progress: -1}); err != nil {
		return err
	}
	err = w.live(ctx, say)
	if w.mode == "never stops" {
		select {}
	}
	_ = lifeline.Close()
	if w.mode != "stubborn" {
		<-w.chromeEnded
		if err == nil {
			err = say(rpc.BrowserExited{Exit: fmt.Sprintf("exit %d", chrome.ProcessState.ExitCode())})
		}
	}
	return err
}

// checkBackup finds what the mode says, such as "rejected". It writes its request to the
// file "request" next to its binary.
func (w *worker) checkBackup(req rpc.RunRequest) rpc.BackupChecked {
	self, err := os.Executable()
	if err != nil {
		fatal(err)
	}
	encoded, err := json.Marshal(req)
	if err := errors.Join(err, os.WriteFile(filepath.Join(filepath.Dir(self), "request"), encoded, 0o600)); err != nil {
		fatal(err)
	}
	switch outcome := rpc.Outcome(w.mode); outcome {
	case rpc.BackupRejected, rpc.BackupInconclusive:
		return rpc.BackupChecked{Outcome: outcome, Detail: "the fake worker found it in " + req.BackupDir}
	default:
		return rpc.BackupChecked{Outcome: rpc.BackupVerified, Databases: 3}
	}
}

func (w *worker) live(ctx context.Context, say func(rpc.EventBody) error) error {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.stop:
			return nil
		case <-tick.C:
			if w.mode == "mute" {
				continue
			}
			beat := rpc.Heartbeat{ResidentBytes: 1}
			if w.mode == "bloated" {
				beat.ResidentBytes = 1 << 30
			}
			if err := say(beat); err != nil {
				return err
			}
		}
	}
}

func (w *worker) misbehave(req rpc.RunRequest, say func(rpc.EventBody) error, emit func(rpc.Event) error) error {
	switch w.mode {
	case "poison":
		fmt.Fprint(w.stderr, `{"@message":5}`+"\n"+`{"@level":true,"@message":"x"}`+"\n"+`{"msg":7,"level":[]}`+"\n")
		fmt.Fprint(w.stderr, `{"time":"2026-01-01T00:00:00Z","level":"WARN","msg":"from the worker","process":"worker","n":42}`+"\n")
		fmt.Fprint(w.stderr, "\x1b[31mred\x00 2@ABCDEFGHIJKLMNOP,key,key\n")
		fmt.Fprint(w.stderr, strings.Repeat("y", 10<<20)+"\n")
		fmt.Fprint(w.stderr, "end of poison\n")
	case "secrets":
		return w.leak(say)
	case "flood":
		line := []byte(strings.Repeat("z", 99) + "\n")
		block := bytes.Repeat(line, 10_000)
		for range 25 {
			if _, err := w.stderr.Write(block); err != nil {
				return err
			}
		}
	case "stdout flood":
		for range 32 {
			if _, err := w.stdout.Write(bytes.Repeat([]byte("q"), 1<<20)); err != nil {
				return err
			}
		}
	case "closes early":
		// Its lock is gone, and Chrome lives a moment longer.
		time.Sleep(4 * beat)
		return errors.Join(say(rpc.Failure{Reason: reason.BrowserCrashed, Detail: "Chrome closed"}), errors.New("closed"))
	case "fails":
		err := say(rpc.Failure{
			Reason: reason.BrowserCrashed, Detail: "Chrome died", ChromeStderr: []string{"last line of Chrome"},
		})
		err = errors.Join(err, say(rpc.BrowserExited{Exit: "signal segmentation fault"}))
		time.AfterFunc(20*time.Millisecond, func() { os.Exit(70) })
		return errors.Join(err, errors.New("chrome died"))
	case "sandbox":
		err := say(rpc.Failure{Reason: reason.SandboxRefused, Detail: "no usable sandbox"})
		return errors.Join(err, errors.New("no sandbox"))
	case "leaves":
		w.once.Do(func() { close(w.stop) })
	case "exit3":
		os.Exit(3)
	case "foreign":
		return emit(rpc.Event{Generation: req.Generation + 7, Seq: 99, Body: rpc.QRShown{Payload: "x"}})
	}
	return nil
}

// secrets are one of each kind. The tests look for them everywhere.
var secrets = []string{
	"2@Zm9vYmFyYmF6cXV4,c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmU=,YW5vdGhlcnNlY3JldGFub3RoZXJzZWNyZXRhbm90aGU=,YWR2c2VjcmV0YWR2c2VjcmV0YWR2c2VjcmV0YWR2c2U=,1",
	"https://wa.me/settings/linked_devices#2@bGlua2VkbGlua2VkbGlua2Vk,b25lb25lb25l,dHdvdHdvdHdv,dGhyZWV0aHJlZQ==,1,",
	"WXYZ-9876", "+49 170 7654321", "491707654321@s.whatsapp.net",
}

// leak puts every secret into everything that a worker can say.
func (w *worker) leak(say func(rpc.EventBody) error) error {
	var all []string
	for _, secret := range secrets {
		escaped := strings.NewReplacer("@", `\u0040`, "-", `\u002d`, "/", `\/`).Replace(secret)
		for _, form := range []string{
			"%s", "x %s y", `{"level":"INFO","msg":"%s"}`, `{"level":"INFO","msg":"m","k":"%s","l":{"%s":["%s"]}}`,
			`{"level":"INFO","msg":"a\n%s\tb","k":"\t%s\n","l":"{\"m\":\"a\\n%s\"}"}`,
			`{"@level":"warn","@message":"%s","@module":"%s"}`, `{"msg":"%s"`,
		} {
			fmt.Fprintln(w.stderr, strings.ReplaceAll(form, "%s", secret))
			if strings.HasSuffix(form, "}") { // JSON undoes the escapes
				fmt.Fprintln(w.stderr, strings.ReplaceAll(form, "%s", escaped))
			}
		}
		fmt.Fprintln(w.stdout, secret)
		all = append(all, secret)
	}
	told := strings.Join(all, " and ")
	observed := say(rpc.PageObserved{Condition: rpc.PageUnlinked, Detail: told, Progress: -1})
	shown := say(rpc.QRShown{Payload: rpc.QRPayload(secrets[0]), Reader: "dom", Seq: 1, TTL: time.Minute})
	failed := say(rpc.Failure{Reason: reason.BrowserCrashed, Detail: told, ChromeStderr: all})
	time.AfterFunc(4*beat, func() { panic(told) })
	return errors.Join(observed, shown, failed, errors.New(told))
}

// startChrome starts a process that holds the lease, has made the profile's lock,
// and ends when the pipe to it is closed, or, when stubborn, leaves children in
// sessions of their own that ignore everything.
func (w *worker) startChrome(req rpc.RunRequest) (*exec.Cmd, *os.File, error) {
	held, err := lease.Acquire(req.LeaseFile)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = held.Close() }()
	r, lifeline, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = r.Close() }()
	ready, done, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = ready.Close() }()
	script := `lock="$0/SingletonLock"; ln -s "$(cat /proc/sys/kernel/hostname)-$$" "$lock"; echo >&5; exec 5>&-
		read x <&3; rm -f "$lock"`
	switch w.mode {
	case "stubborn":
		script = `trap '' TERM INT HUP; lock="$0/SingletonLock"; ln -s "$(cat /proc/sys/kernel/hostname)-$$" "$lock"
			(setsid sh -c 'trap "" TERM; exec sleep 600' & ) ; echo >&5; exec 5>&-; while :; do sleep 600; done`
	case "other profile":
		script = `ln -s "somewhere-1" "$0/SingletonLock"; echo >&5; exec 5>&-; read x <&3; rm -f "$0/SingletonLock"`
	}
	cmd := exec.Command("/bin/sh", "-c", script, req.ProfileDir)
	cmd.ExtraFiles = []*os.File{r, held, done}
	// As a careless worker would: what Chrome leaves holds our pipes.
	cmd.Stdout, cmd.Stderr = w.stdout, w.stderr
	err = cmd.Start()
	_ = done.Close()
	if err != nil {
		return nil, nil, err
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		return nil, nil, fmt.Errorf("fake Chrome did not start: %w", err)
	}
	return cmd, lifeline, nil
}

// Stop implements rpc.Worker.
func (w *worker) Stop(ctx context.Context) error {
	if w.mode == "never stops" {
		<-ctx.Done()
		return ctx.Err()
	}
	w.once.Do(func() { close(w.stop) })
	if w.chromeEnded == nil {
		return nil
	}
	select {
	case <-w.chromeEnded:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *worker) LogOut(context.Context) error {
	if w.largeAnswers() {
		return errors.New(string(large(100_000)))
	}
	return rpc.ErrNotLinked
}

func (w *worker) SetSelectors(_ context.Context, file []byte) error {
	if string(file) == "broken" {
		return fmt.Errorf("line 1: %w", rpc.ErrSelectors)
	}
	return nil
}
