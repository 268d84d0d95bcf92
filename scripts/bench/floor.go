package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/go-rod/rod/lib/cdp"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/scripts/harness"
)

// floor is the least that any program of this kind has to do: a Chrome with the
// fewest flags over a pipe, one page, one question to it. It has no code of the product.
type floor struct {
	*harness.Child
	*cdp.Client
	out *os.File
	in  *bufio.Reader
}

// startFloor starts the browser with HOME, TMPDIR and profile in folder, and with the
// flags without which it would not be the same task.
func startFloor(ctx context.Context, b *bench, folder string) (*floor, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make folder: %w", err)
	}
	args := []string{
		"--user-agent=" + b.userAgent, "--headless", "--remote-debugging-pipe", "--user-data-dir=" + filepath.Join(folder, "profile"),
		"--no-first-run", "--enable-aggressive-domstorage-flushing", // else a kill loses what the page has stored
		"about:blank",
	}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox") // Chrome does not start otherwise
	}
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make pipe: %w", err)
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make pipe: %w", err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), b.browser, args...) // close is its kill path
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	cmd.Env = append(os.Environ(), "HOME="+folder, "TMPDIR="+folder)
	f := &floor{out: ourOut, in: bufio.NewReaderSize(ourIn, 1<<20)}
	f.Child, err = harness.Spawn(cmd)
	f.Client = cdp.New().Start(f)
	go func() {
		for range f.Event() { // nobody needs them
		}
	}()
	return f, errors.Join(err, theirIn.Close(), theirOut.Close())
}

// close lets Chrome exit, as it does when the pipe is gone, and kills it when it does
// not.
func (f *floor) close() {
	_ = f.out.Close()
	f.HasExited(10 * time.Second)
	f.KillGroup()
}

// Send and Read exchange CDP messages, which end with a zero byte.
func (f *floor) Send(message []byte) error {
	_, err := f.out.Write(append(message, 0))
	return err
}

func (f *floor) Read() ([]byte, error) {
	message, err := f.in.ReadBytes(0)
	return bytes.TrimSuffix(message, []byte{0}), err
}

// tab is a page of the floor's Chrome, with its CDP session.
type tab struct {
	*floor
	session proto.TargetSessionID
}

// GetSessionID implements proto.Sessionable.
func (t tab) GetSessionID() proto.TargetSessionID { return t.session }

// shows loads url in the first tab, and waits until expression has a value.
func (f *floor) shows(url, expression string) (t tab, err error) {
	targets, err := proto.TargetGetTargets{}.Call(f)
	if err != nil {
		return t, err
	}
	for _, target := range targets.TargetInfos {
		if target.Type != proto.TargetTargetInfoTypePage {
			continue
		}
		attached, err := proto.TargetAttachToTarget{TargetID: target.TargetID, Flatten: true}.Call(f)
		if err != nil {
			return t, err
		}
		t = tab{f, attached.SessionID}
		if _, err := (proto.PageNavigate{URL: url}).Call(t); err != nil {
			return t, err
		}
		return t, t.await(expression)
	}
	return t, errors.New("Chrome has no tab")
}

// longestShow is how long a page may take to show something, on a machine that is busy.
const longestShow = 2 * time.Minute

// await evaluates an expression in the page until it has a value, by a promise
// that the page's own changes resolve.
func (t tab) await(expression string) error {
	late := time.AfterFunc(longestShow, t.KillGroup)
	defer late.Stop()
	script := `new Promise((done) => { const look = () => { const v = ` + expression + `; if (v) { watch.disconnect(); done(v); } };
		const watch = new MutationObserver(look); watch.observe(document, {subtree: true, childList: true, attributes: true}); look(); })`
	for {
		answer, err := proto.RuntimeEvaluate{Expression: script, AwaitPromise: true, ReturnByValue: true}.Call(t)
		if err == nil && answer.ExceptionDetails == nil {
			return nil
		}
		if t.HasExited(0) {
			return errors.New("Chrome has exited")
		}
		// The document was replaced during the evaluation.
	}
}
