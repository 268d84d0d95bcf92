package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"session-manager/scripts/harness"
)

// floor is the least that any program of this kind has to do: a Chrome with the
// fewest flags over a pipe, one page, one question to it. It shares nothing with
// the product.
type floor struct {
	*harness.Child
	out *os.File
	in  *bufio.Reader
	id  int
}

// startFloor starts the browser with HOME, TMPDIR and profile in folder, and with the
// flags without which it would not be the same task.
func startFloor(ctx context.Context, b *bench, folder string) (*floor, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make folder: %w", err)
	}
	args := []string{
		"--user-agent=" + b.userAgent, "--headless", "--remote-debugging-pipe", "--user-data-dir=" + filepath.Join(folder, "profile"),
		"--no-first-run", "about:blank",
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
	return f, errors.Join(err, theirIn.Close(), theirOut.Close())
}

// close lets Chrome exit, as it does when the pipe is gone, and kills it when it does
// not.
func (f *floor) close() {
	_ = f.out.Close()
	f.HasExited(10 * time.Second)
	f.KillGroup()
}

// call sends a CDP command and returns its result. Events are dropped.
func (f *floor) call(session, method string, params any, result any) error {
	f.id++
	message, err := json.Marshal(struct {
		ID      int    `json:"id"`
		Method  string `json:"method"`
		Params  any    `json:"params"`
		Session string `json:"sessionId,omitempty"`
	}{f.id, method, params, session})
	if err != nil {
		return fmt.Errorf("cannot encode command: %w", err)
	}
	if _, err := f.out.Write(append(message, 0)); err != nil {
		return fmt.Errorf("cannot write to Chrome: %w", err)
	}
	for {
		raw, err := f.in.ReadBytes(0)
		if err != nil {
			return fmt.Errorf("cannot read from Chrome: %w", err)
		}
		var answer struct {
			ID     int             `json:"id"`
			Result json.RawMessage `json:"result"`
			Error  json.RawMessage `json:"error"`
		}
		if err := json.Unmarshal(raw[:len(raw)-1], &answer); err != nil {
			return fmt.Errorf("cannot decode message: %w", err)
		}
		if answer.ID != f.id {
			continue
		}
		if answer.Error != nil {
			return fmt.Errorf("cannot call %s: %s", method, answer.Error)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(answer.Result, result)
	}
}

// shows loads url in the first tab, waits until expression has a value, and returns
// the tab's session.
func (f *floor) shows(url, expression string) (session string, err error) {
	var targets struct {
		TargetInfos []struct {
			TargetID string `json:"targetId"`
			Type     string `json:"type"`
		} `json:"targetInfos"`
	}
	if err := f.call("", "Target.getTargets", map[string]any{}, &targets); err != nil {
		return "", err
	}
	for _, t := range targets.TargetInfos {
		if t.Type != "page" {
			continue
		}
		var attached struct {
			SessionID string `json:"sessionId"`
		}
		if err := f.call("", "Target.attachToTarget", map[string]any{"targetId": t.TargetID, "flatten": true}, &attached); err != nil {
			return "", err
		}
		if err := f.call(attached.SessionID, "Page.navigate", map[string]any{"url": url}, nil); err != nil {
			return "", err
		}
		return attached.SessionID, f.await(attached.SessionID, expression)
	}
	return "", errors.New("Chrome has no tab")
}

// await evaluates an expression in the page until it has a value, by a promise
// that the page's own changes resolve.
func (f *floor) await(session, expression string) error {
	script := `new Promise((done) => { const look = () => { const v = ` + expression + `; if (v) { watch.disconnect(); done(v); } };
		const watch = new MutationObserver(look); watch.observe(document, {subtree: true, childList: true, attributes: true}); look(); })`
	for {
		var answer struct {
			Result struct {
				Value string `json:"value"`
			} `json:"result"`
		}
		err := f.call(session, "Runtime.evaluate", map[string]any{"expression": script, "awaitPromise": true, "returnByValue": true}, &answer)
		if err == nil && answer.Result.Value != "" {
			return nil
		}
		if f.HasExited(0) {
			return errors.New("Chrome has exited")
		}
		// The document was replaced during the evaluation.
	}
}
