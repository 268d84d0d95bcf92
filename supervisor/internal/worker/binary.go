package worker

import (
	"context"
	"fmt"
	"os"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/restart"
	"session-manager/supervisor/internal/watch"
)

// program is a worker's binary as a generation runs it.
type program struct {
	// path is what is executed.
	path string
	// file identifies the binary.
	file watch.Signature
	// kept says that it is not the file at Options.Worker, but the last one that
	// worked.
	kept bool
}

// binaries decides which binary the next generation runs. Run's goroutine owns
// it.
type binaries struct {
	path string
	// good is the last binary that worked, open, so that it stays whatever is
	// done to its name; nil while there is none. It is no copy: a binary that
	// runs can be replaced, but not written to.
	good     *os.File
	goodFile watch.Signature
	// bad is one that did not work, and why says how it showed. It is tried again
	// when the file has changed, or when an operator asks for a restart.
	bad watch.Signature
	why string
	// suspect is a new one of which ends generations have failed.
	suspect watch.Signature
	ends    int
}

// choose returns what to run. The error, which carries a reason, says that there
// is nothing.
func (b *binaries) choose() (program, error) {
	file := watch.Sign(b.path)
	err := checkWorker(b.path)
	switch instead := b.good != nil && b.intact(); {
	case err == nil && (file != b.bad || !instead):
		b.why = ""
		return program{path: b.path, file: file}, nil
	case !instead:
		return program{}, err
	case err != nil:
		b.why = "the worker's file can't be used, the last one that worked is: " + err.Error()
	}
	return program{path: fmt.Sprintf("/proc/self/fd/%d", b.good.Fd()), file: b.goodFile, kept: true}, nil
}

// intact says whether the binary that worked was not written to.
func (b *binaries) intact() bool {
	info, err := b.good.Stat()
	return err == nil && watch.SignatureOf(info) == b.goodFile
}

// keep remembers the binary of the process pid as one that worked. It does
// nothing for a worker that is started by a script: what runs then is another
// file.
func (b *binaries) keep(p program, pid int) error {
	if b.good != nil && b.goodFile == p.file {
		return nil
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return fmt.Errorf("cannot keep the worker's binary: %w", err)
	}
	info, err := f.Stat()
	if err != nil || watch.SignatureOf(info) != p.file {
		return f.Close()
	}
	b.close()
	b.good, b.goodFile = f, p.file
	return nil
}

// refuse notes that a binary does not work.
func (b *binaries) refuse(file watch.Signature, why string) { b.bad, b.why = file, why }

// forgive lets a binary that was refused be tried again.
func (b *binaries) forgive() { b.bad = watch.Signature{} }

func (b *binaries) close() {
	if b.good != nil {
		_ = b.good.Close()
		b.good = nil
	}
}

// suspicions is how many ends in a row, each of which could have another cause,
// speak against a new binary.
const suspicions = 2

// accuses says whether an end speaks against the binary, which was not proven yet
// while there is another one that worked. A worker that could not be used, died or
// hung does at once; one whose Chrome or page failed does when that happens again.
func (b *binaries) accuses(r result) bool {
	if b.good == nil || r.program.kept || r.program.file == b.goodFile || r.proven {
		return false
	}
	switch code := r.cause.reason; {
	case code == reason.WorkerUnusable, code == reason.WorkerCrashed, code == reason.WorkerHung:
		return true
	case restart.Classify(code) != restart.Transient:
		return false
	}
	if b.suspect != r.program.file {
		b.suspect, b.ends = r.program.file, 0
	}
	b.ends++
	return b.ends >= suspicions
}

// watchWorker tells of each change of the worker's file until ctx ends.
func (s *Manager) watchWorker(ctx context.Context) {
	watch.Look(s.o.Worker).Watch(ctx, func() {
		select {
		case s.replaced <- struct{}{}:
		default:
		}
	})
}

// tellBinary tells why the newest binary is not in use, when that has changed.
func (s *Manager) tellBinary() {
	if s.binaries.why == s.told {
		return
	}
	s.told = s.binaries.why
	if s.told != "" {
		s.log.Error(logid.WorkerRejected, logging.KeyPath, s.o.Worker, logging.KeyDetail, s.told)
	}
	s.notify(WorkerBinary{Refused: logging.Redact(s.told)})
}
