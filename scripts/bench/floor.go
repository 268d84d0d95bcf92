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
	"syscall"
	"time"
)

// floor is the least that any program of this kind has to do: a Chrome with the
// fewest flags over a pipe, one page, one question to it. It shares nothing with
// the product.
type floor struct {
	cmd   *exec.Cmd
	out   *os.File
	in    *bufio.Reader
	ended chan struct{}
	id    int
}

// minimal are the flags without which it would not be the same task.
func minimal(profile string) []string {
	flags := []string{"--headless", "--remote-debugging-pipe", "--user-data-dir=" + profile, "--no-first-run"}
	if os.Geteuid() == 0 {
		flags = append(flags, "--no-sandbox") // Chrome does not start otherwise
	}
	return append(flags, "about:blank")
}

// startFloor starts the browser with HOME and TMPDIR in folder.
func startFloor(ctx context.Context, browser, folder, userAgent string) (*floor, error) {
	args := minimal(filepath.Join(folder, "profile"))
	if userAgent != "" {
		args = append([]string{"--user-agent=" + userAgent}, args...)
	}
	return startChrome(ctx, browser, folder, args)
}

// startChrome starts the browser with these arguments, and HOME and TMPDIR in
// folder.
func startChrome(ctx context.Context, browser, folder string, args []string) (*floor, error) {
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make pipe: %w", err)
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make pipe: %w", err)
	}
	f := &floor{
		cmd: exec.CommandContext(context.WithoutCancel(ctx), browser, args...), // close is its kill path
		out: ourOut, in: bufio.NewReaderSize(ourIn, 1<<20), ended: make(chan struct{}),
	}
	f.cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	f.cmd.Env = append(os.Environ(), "HOME="+folder, "TMPDIR="+folder)
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := f.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start Chrome: %w", err)
	}
	_ = theirIn.Close()
	_ = theirOut.Close()
	go func() {
		defer close(f.ended)
		_ = f.cmd.Wait()
	}()
	return f, nil
}

// close lets Chrome end by itself, as it does when the pipe is gone, and kills it
// when it does not.
func (f *floor) close() {
	_ = f.out.Close()
	timer := time.NewTimer(10 * time.Second)
	defer timer.Stop()
	select {
	case <-f.ended:
	case <-timer.C:
		_ = syscall.Kill(-f.cmd.Process.Pid, syscall.SIGKILL)
		<-f.ended
	}
}

// call sends a CDP command and returns its result. Events are dropped.
func (f *floor) call(session, method string, params any, result any) error {
	f.id++
	request := map[string]any{"id": f.id, "method": method, "params": params}
	if session != "" {
		request["sessionId"] = session
	}
	message, err := json.Marshal(request)
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

// shows loads url in the first tab, waits until expression is something, and returns
// the tab's session.
func (f *floor) shows(url, expression string) (string, error) {
	tab, err := f.openPage(url)
	if err == nil {
		_, err = f.await(tab, expression)
	}
	return tab, err
}

// openPage loads url in the first tab and returns its session.
func (f *floor) openPage(url string) (string, error) {
	target, err := f.tab()
	if err != nil {
		return "", err
	}
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	if err := f.call("", "Target.attachToTarget", map[string]any{"targetId": target, "flatten": true}, &attached); err != nil {
		return "", err
	}
	return attached.SessionID, f.call(attached.SessionID, "Page.navigate", map[string]any{"url": url}, nil)
}

// tab returns the first tab; it makes one where Chrome was started without.
func (f *floor) tab() (string, error) {
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
		if t.Type == "page" {
			return t.TargetID, nil
		}
	}
	var made struct {
		TargetID string `json:"targetId"`
	}
	err := f.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &made)
	return made.TargetID, err
}

// await evaluates an expression in the page until it is not null, by a promise
// that the page's own changes resolve, and returns its value.
func (f *floor) await(session, expression string) (string, error) {
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
			return answer.Result.Value, nil
		}
		select {
		case <-f.ended:
			return "", errors.New("Chrome has ended")
		default: // the document was replaced under the question
		}
	}
}
