package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"session-manager/shared/chrome"
	"session-manager/shared/logging"
	"session-manager/shared/proctree"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
)

// ErrCopyRefused means that a copy of the profile does not open in a Chrome, or
// holds no login.
var ErrCopyRefused = errors.New("the copy of the profile is of no use")

// errNoVerdict is for a program that is no worker of this version, or that died.
var errNoVerdict = errors.New("cannot verify copy: the worker gave no verdict")

const (
	// verifyFolder is the folder of a verification in the runtime folder. There is
	// no trial meanwhile.
	verifyFolder = trialFolder
	// verifyGrace is what a verification may take beyond its limit: its Chrome has
	// to end, and it has to tell that the time was not enough.
	verifyGrace = 5 * time.Second
	// maxVerdict bounds what is read of its answer, in bytes.
	maxVerdict = 16 << 10
)

// VerifyBackup finds out whether a copy of the profile, in the folder copied, opens in
// a Chrome, by a worker that does nothing else. It is nil when it does, matches
// ErrCopyRefused when it does not, and any other error says why that could not be
// found out. Only the Hooks may call it, from Before and After, when nothing else is
// below this process. Whatever it started has ended when it returns.
func (s *Manager) VerifyBackup(ctx context.Context, copied string) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timings.VerifyCopy+verifyGrace)
	defer cancel()
	p, req, err := s.verification(ctx, copied)
	if err != nil {
		return err
	}
	room, removeRoom, err := s.profile.TempDir()
	if err != nil {
		return err
	}
	folder, err := makeFolders(s.o.RuntimeDir, verifyFolder)
	if err != nil {
		return errors.Join(err, removeRoom())
	}
	req.RoomDir, req.ScratchDir = room, filepath.Join(folder, chromeFolder)
	verdict, err := s.verify(ctx, p, filepath.Join(folder, workerFolder), req)
	for _, err := range []error{s.endVerification(), removeRoom(), remove(s.o.RuntimeDir, verifyFolder)} {
		if err != nil {
			s.log.Warn(logid.VerificationCleanupFailed, logging.KeyError, err)
		}
	}
	switch {
	case err != nil:
		return err
	case verdict.Exit == rpc.VerifyRefused:
		return fmt.Errorf("%w: %s", ErrCopyRefused, logging.Redact(verdict.Reason))
	case verdict.Exit != rpc.VerifyOpens:
		return fmt.Errorf("cannot verify copy: %s", logging.Redact(verdict.Reason))
	}
	s.log.Debug(logid.BackupVerified, logging.KeyPath, copied, "databases", verdict.Databases)
	return nil
}

// verification is what to run, with the browser and the binary of the next
// generation.
func (s *Manager) verification(ctx context.Context, copied string) (program, rpc.VerifyRequest, error) {
	browser, err := chrome.Find(s.o.Chrome)
	if err != nil {
		return program{}, rpc.VerifyRequest{}, err
	}
	version, err := s.versions.Of(ctx, browser)
	if err != nil {
		return program{}, rpc.VerifyRequest{}, err
	}
	p, err := s.binaries.choose()
	return p, rpc.VerifyRequest{
		CopyDir: copied, ChromePath: browser.Path, ChromeVersion: version, ChromeArgs: s.o.ChromeArgs,
		URL: s.o.URL, Selectors: s.o.Selectors(), Limit: s.o.Timings.VerifyCopy,
	}, err
}

// verify runs the worker's program, and returns its verdict. The end of ctx kills
// it; what it leaves then is for endVerification.
func (s *Manager) verify(ctx context.Context, p program, home string, req rpc.VerifyRequest) (rpc.Verdict, error) {
	request, err := json.Marshal(req)
	if err != nil {
		return rpc.Verdict{}, fmt.Errorf("cannot marshal request: %w", err)
	}
	cmd := exec.CommandContext(ctx, p.path, rpc.VerifyCommand)
	cmd.Args[0] = "worker"
	cmd.Env = append(environ(), "HOME="+home, "TMPDIR="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipeGrace
	answer := &bounded{room: maxVerdict}
	cmd.Stdout = answer
	log := newStderr(s.log.With("verification", true), time.Now)
	lines, written := io.Pipe()
	cmd.Stderr = written
	go log.pump(lines)
	err = s.converse(cmd, request)
	_ = written.Close()
	<-log.done
	if cause := context.Cause(ctx); cause != nil {
		return rpc.Verdict{}, fmt.Errorf("cannot verify copy: %w", cause)
	}
	var v rpc.Verdict
	if json.Unmarshal(answer.data, &v) != nil || v.Exit != cmd.ProcessState.ExitCode() {
		return rpc.Verdict{}, errors.Join(errNoVerdict, err)
	}
	return v, nil
}

// converse starts cmd, asks it, and waits for its end. It stays on one thread: the
// kernel sends the parent-death signal when the thread that forked ends.
func (s *Manager) converse(cmd *exec.Cmd, request []byte) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	asked, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("cannot start worker: %w", err)
	}
	contain(s.group, s.log, cmd.Process.Pid)
	_, err = asked.Write(request)
	return errors.Join(err, asked.Close(), cmd.Wait())
}

// endVerification kills what is left below this process. Chrome is, when its worker
// was killed.
func (s *Manager) endVerification() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.o.Timings.Kill)
	defer cancel()
	return proctree.Below().In(s.group).Kill(ctx)
}

// bounded keeps the first bytes of what is written to it.
type bounded struct {
	data []byte
	room int
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	b.data = append(b.data, p[:min(len(p), b.room-len(b.data))]...)
	return len(p), nil
}
