package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
	"session-manager/shared/chrome"
)

// patience bounds one fault: the slowest detection takes half a minute.
const patience = 90 * time.Second

// stage is a service with everything around it, on folders of its own.
type stage struct {
	o       options
	files   files
	phone   *harness.Phone
	service *harness.Service // nil while none is needed
	// address is the API's, the same for each service.
	address string
	// args and env are further flags and variables of the service, for the present
	// fault.
	args, env []string
	// stderr is where the service logs instead of to its file, for the present fault.
	stderr *os.File
	// cleanups undo the present fault while the service is stopped, the last first.
	cleanups []func() error
	// linked: the phone has scanned the QR.
	linked bool
	// hurried: long backoffs are cut short.
	hurried bool
	// cold is the slowest of the cold starts in the present state.
	cold time.Duration
}

func newStage(o options) (*stage, error) {
	browser, err := chrome.Find("")
	if err != nil {
		return nil, err
	}
	s := &stage{o: o, address: "127.0.0.1:0"}
	if s.files, err = makeFiles(o.Worker, browser); err == nil {
		s.phone, err = harness.NewPhone(simulator.Options{Speed: o.speed})
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// close ends everything and removes the folders.
func (s *stage) close() {
	_ = s.cleanUp()
	_ = s.stop()
	if s.phone != nil {
		s.phone.Close()
	}
	if !s.o.keep {
		_ = os.RemoveAll(s.files.root)
	}
}

// afterwards lets undo run when the present fault is over and the service stopped.
func (s *stage) afterwards(undo func() error) { s.cleanups = append(s.cleanups, undo) }

// cleanUp stops the service, if something of a fault is to be undone, and undoes it.
func (s *stage) cleanUp() error {
	s.args, s.env, s.stderr = nil, nil, nil
	if len(s.cleanups) == 0 {
		return nil
	}
	err := s.stop()
	for _, undo := range slices.Backward(s.cleanups) {
		err = errors.Join(err, undo())
	}
	s.cleanups = nil
	return err
}

// start starts the service; it returns when the API answers.
func (s *stage) start(ctx context.Context) (err error) {
	s.service, err = harness.Start(ctx, harness.Options{
		Supervisor: s.o.Supervisor, Folder: s.files.root, Listen: s.address, URL: s.phone.URL, Env: s.env, Stderr: s.stderr,
		Args: append([]string{"--worker", s.files.worker, "--chrome", s.files.chrome, "--settle-time", "0s", "--log-level", "debug", "--log-format", "json"}, s.args...),
	})
	if err == nil {
		s.address = strings.TrimPrefix(s.service.Base, "http://")
	}
	return err
}

// stop stops the service, if it runs.
func (s *stage) stop() error {
	if s.service == nil {
		return nil
	}
	err := s.service.Stop()
	s.service = nil
	return err
}

// fresh restarts the service, with a restart policy that remembers nothing, and
// returns how long it took until all was well. prepare, which may be nil, runs while
// it is stopped.
func (s *stage) fresh(ctx context.Context, prepare action) (time.Duration, error) {
	if err := s.stop(); err != nil {
		return 0, err
	}
	err := os.RemoveAll(s.files.restarts())
	if err == nil && !s.linked {
		// A login that an earlier fault has ended may wait for an hour to be moved away.
		err = os.RemoveAll(s.files.login())
	}
	if err != nil {
		return 0, fmt.Errorf("cannot reset what the service remembers: %w", err)
	}
	if prepare != nil {
		if err := prepare(ctx, &hit{stage: s}); err != nil {
			return 0, err
		}
	}
	return s.coldStart(ctx)
}

// coldStart starts the service, and returns how long it took until all was well.
func (s *stage) coldStart(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	if err := s.start(ctx); err != nil {
		return 0, err
	}
	_, err := s.awaitSettled(ctx)
	return time.Since(begun), err
}

func (s *stage) awaitSettled(ctx context.Context) (harness.Session, error) {
	return s.await(ctx, "a good state", func(v harness.Session) bool { return v.Settled(s.linked) })
}

func (s *stage) await(ctx context.Context, what string, ok func(harness.Session) bool) (harness.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.service.Await(ctx, what, ok)
}

// link plays the phone.
func (s *stage) link(ctx context.Context) error {
	s.linked = true
	if err := s.phone.Link(ctx, s.service); err != nil {
		return err
	}
	_, err := s.awaitSettled(ctx)
	return err
}

// coldStarts is how many are measured. They are of two kinds, and so are the starts
// after a fault: a page that finds the mark of another tab waits 1.5 s to see whether
// that lives, and a tab that is closed does not always remove its mark in time. The
// bound is the slowest.
const coldStarts = 5

// measureCold measures starts on a profile that exists, under the same requests as the
// faults.
func (s *stage) measureCold(ctx context.Context, rep *report) error {
	s.cold = 0
	for range coldStarts {
		if err := s.stop(); err != nil {
			return err
		}
		asking := harness.Probe("http://"+s.address, s.o.pause)
		took, err := s.coldStart(ctx)
		asking.Close()
		if err != nil {
			return err
		}
		s.cold = max(s.cold, took)
		rep.cold = append(rep.cold, took.Round(time.Millisecond))
	}
	return nil
}

// leftovers names what should be gone. old are the processes from before the fault, v
// is the present.
func (s *stage) leftovers(old harness.Tree, v harness.Session) []string {
	const settling = 3 * time.Second
	if v.Browser != nil && slices.Contains(old.PIDs(), v.Browser.PID) {
		// The same Chrome lives: its helpers may be the same, too.
		return s.files.leftovers(v)
	}
	return append(old.Left(settling), s.files.leftovers(v)...)
}

// stopAndInspect stops the service and names what is left of it.
func (s *stage) stopAndInspect() []string {
	all, err := harness.Below(s.service.PID())
	if err != nil {
		return []string{err.Error()}
	}
	defer all.Close()
	var found []string
	if err := s.stop(); err != nil {
		found = append(found, err.Error())
	}
	found = append(found, all.Left(time.Second)...)
	if _, err := os.Lstat(s.files.lock()); err == nil {
		found = append(found, "Chrome's lock")
	}
	return append(found, s.files.leftovers(harness.Session{})...)
}

// files are the folders and programs of a stage. All of it is private to the run, so
// that leftovers can be seen.
type files struct {
	root, tokens, runtime, tmp string
	// worker is a copy of the binary, and chrome a link to browser: faults replace
	// them.
	worker, chrome    string
	original, browser string
	version           string // of browser
}

func makeFiles(worker string, browser chrome.Binary) (files, error) {
	version, err := new(chrome.Versions).Of(context.Background(), browser)
	if err != nil {
		return files{}, err
	}
	root, err := os.MkdirTemp("/tmp", "chaos") // short: sockets are made below
	if err != nil {
		return files{}, fmt.Errorf("cannot make folder: %w", err)
	}
	f := files{
		root: root, tokens: filepath.Join(root, "tokens"), runtime: filepath.Join(root, "run"), tmp: filepath.Join(root, "tmp"),
		worker: filepath.Join(root, "worker"), chrome: filepath.Join(root, "chrome"), original: worker, browser: browser.Path, version: version,
	}
	return f, errors.Join(os.Mkdir(f.tokens, 0o700), f.placeWorker(worker, nil), os.Symlink(worker, realWorker(f.worker)), os.Symlink(browser.Path, f.chrome))
}

func (f files) profile() string    { return filepath.Join(f.tokens, "admin") }
func (f files) lock() string       { return filepath.Join(f.profile(), "SingletonLock") }
func (f files) restarts() string   { return f.profile() + ".restarts" }
func (f files) login() string      { return f.profile() + ".login" }
func (f files) quarantine() string { return f.profile() + ".quarantine" }

// replaceWorker puts a new worker in the old one's place. change may be nil.
func (f files) replaceWorker(change func([]byte) []byte) error {
	return f.placeWorker(f.original, change)
}

// placeWorker puts a program in the worker's place, as an installer does.
func (f files) placeWorker(program string, change func([]byte) []byte) error {
	content, err := os.ReadFile(program)
	if err != nil {
		return fmt.Errorf("cannot read the worker's binary: %w", err)
	}
	if change != nil {
		content = change(content)
	}
	next := f.worker + ".new"
	if err := os.WriteFile(next, content, 0o700); err != nil { //nolint:gosec // a program must be executable
		return fmt.Errorf("cannot write the worker's binary: %w", err)
	}
	return os.Rename(next, f.worker)
}

func (f files) restoreChrome() error {
	return errors.Join(os.RemoveAll(f.chrome), os.Symlink(f.browser, f.chrome))
}

// leftovers names the files that do not belong to v.
func (f files) leftovers(v harness.Session) []string {
	var found []string
	for _, pattern := range []string{f.runtime + "/*", f.tmp + "/*", f.lock() + ".*"} {
		paths, _ := filepath.Glob(pattern) // it fails on malformed patterns only
		found = append(found, paths...)
	}
	own := filepath.Join(f.runtime, fmt.Sprintf("g%d", v.Worker.Generation))
	found = slices.DeleteFunc(found, func(path string) bool { return path == own })
	lock, err := os.Readlink(f.lock())
	locks := v.Browser != nil && v.Browser.Engine == string(chrome.FullChrome)
	if locks && (err != nil || !strings.HasSuffix(lock, fmt.Sprintf("-%d", v.Browser.PID))) {
		found = append(found, "lock of "+lock)
	}
	return found
}
