package watch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/supervisor/internal/smallfile"
)

// refuse refuses a file that does not begin with "good".
func refuse(content []byte) error {
	if content != nil && !strings.HasPrefix(string(content), "good") {
		return errors.New("line 1: it is not good")
	}
	return nil
}

func TestLastGoodVersionStaysInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	parse := func(contents [][]byte) (string, error) {
		return string(contents[0]), refuse(contents[0])
	}
	if err := New(parse, "").Optional().Load(t.Context()); err != nil {
		t.Errorf("no path: %v", err)
	}
	f := New(parse, path).Optional()
	put := func(content string) error {
		t.Helper()
		write(t, path, content)
		return f.Load(t.Context())
	}
	expect := func(name string, err error, value string) {
		t.Helper()
		if err != nil || f.State().Err != nil || f.Value() != value {
			t.Fatalf("%s: %v, %+v", name, err, f.State())
		}
	}
	expect("without a file", f.Load(t.Context()), "")
	expect("a good file", put("good 1"), "good 1")
	since := f.State().Since
	for name, bad := range map[string]string{"empty": "", "bad": "bad", "too large": "good" + strings.Repeat(" ", smallfile.Max)} {
		if err := put(bad); err == nil || !strings.Contains(err.Error(), path) || f.State().Err == nil || f.Value() != "good 1" || f.State().Since != since {
			t.Errorf("%s: got %v, %+v", name, err, f.State())
		}
	}
	expect("fixed", put("good 2"), "good 2")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("removed", f.Load(t.Context()), "")
}

func TestRequiredFileThatIsMissingIsAnError(t *testing.T) {
	f := New(func(contents [][]byte) (int, error) { return len(contents), nil }, "/nonexistent/a", "/nonexistent/b")
	if err := f.Load(t.Context()); !errors.Is(err, os.ErrNotExist) || f.State().Err == nil {
		t.Errorf("got %v", err)
	}
}

func TestChangeAfterTheLoadIsLoaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "1")
	f := New(func(contents [][]byte) (string, error) { return string(contents[0]), nil }, path)
	if err := f.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(t, path, "another one")
	ctx, cancel := context.WithCancel(t.Context())
	f.Watch(ctx, func(s State[string]) {
		if s.Err != nil || s.Value != "another one" {
			t.Errorf("got %+v", s)
		}
		cancel()
	})
}

// watched is a File that is watched, and the states that its watch reports.
func watched(t *testing.T, path string) (*File[string], <-chan State[string]) {
	t.Helper()
	write(t, path, "good 1")
	f := New(func(contents [][]byte) (string, error) { return string(contents[0]), refuse(contents[0]) }, path)
	if err := f.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	states, done := make(chan State[string], 100), make(chan struct{})
	go func() {
		defer close(done)
		f.Watch(ctx, func(s State[string]) { states <- s })
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Error("the watch did not end")
		}
	})
	return f, states
}

// next returns the state that the watch reports next.
func next(t *testing.T, states <-chan State[string]) State[string] {
	t.Helper()
	select {
	case s := <-states:
		return s
	case <-time.After(3 * recheck):
		t.Fatal("nothing was reported")
		return State[string]{}
	}
}

func TestUnusableFileIsReportedAndReadAgain(t *testing.T) {
	for name, replace := range map[string]func(path string) error{
		"a pipe":           func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a folder":         func(path string) error { return os.Mkdir(path, 0o700) },
		"nothing":          func(string) error { return nil },
		"a link to itself": func(path string) error { return os.Symlink(path, path) },
		"a large file":     func(path string) error { return os.WriteFile(path, make([]byte, smallfile.Max+1), 0o600) },
		"a bad file":       func(path string) error { return os.WriteFile(path, []byte("bad"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "file")
			f, states := watched(t, path)
			readAt := f.State().ReadAt
			if err := errors.Join(os.Remove(path), replace(path)); err != nil {
				t.Fatal(err)
			}
			bad := next(t, states)
			if bad.Err == nil || !strings.Contains(bad.Err.Error(), path) || bad.Value != "good 1" || bad.ReadAt.Before(readAt) {
				t.Fatalf("got %+v", bad)
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			write(t, path, "good 2")
			for s := next(t, states); s.Err != nil; s = next(t, states) {
				if !s.ReadAt.Equal(bad.ReadAt) {
					t.Errorf("got %+v", s)
				}
			}
			if f.Value() != "good 2" || !f.State().ReadAt.After(bad.ReadAt) {
				t.Errorf("got %+v", f.State())
			}
		})
	}
}

// Nothing but the time of the check shows that the same content was found again.
func TestSameContentIsNotReported(t *testing.T) {
	f := New(func(contents [][]byte) (string, error) { return string(contents[0]), nil }, "unused")
	if at := time.Now(); !f.use(reading{at: at, contents: [][]byte{[]byte("a")}}) || !f.State().ReadAt.Equal(at) || !f.State().Since.Equal(at) {
		t.Errorf("got %+v", f.State())
	}
	later := time.Now().Add(time.Second)
	if f.use(reading{at: later, contents: [][]byte{[]byte("a")}}) || !f.State().ReadAt.Equal(later) || f.State().Since.Equal(later) {
		t.Errorf("got %+v", f.State())
	}
	broken := reading{at: later.Add(time.Second), err: os.ErrPermission}
	if !f.use(broken) || f.use(broken) || !f.State().ReadAt.Equal(later) || f.Value() != "a" {
		t.Errorf("got %+v", f.State())
	}
}

// A folder in which something happens all the time must not delay the check.
func TestBusyFolderDoesNotDelayTheReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	_, states := watched(t, path)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(settle / 20):
				_ = os.WriteFile(path+".other", nil, 0o600)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	write(t, path, "good 2")
	begun := time.Now()
	s := next(t, states)
	for s.Err != nil { // it was read before it was written whole
		s = next(t, states)
	}
	if s.Value != "good 2" {
		t.Errorf("got %+v", s)
	}
	if took := time.Since(begun); took >= recheck-busy {
		t.Errorf("it took %s", took)
	}
}

// The watch ends although the file system does not respond.
func TestWatchEndsWhileALookHangs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	begun, release, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		poll(ctx, nil, func() int {
			close(begun)
			<-release
			return 0
		}, func(int) { t.Error("what came too late was used") }, func() {})
	}()
	<-begun
	cancel()
	<-ended
	close(release)
}

func TestFilesThatAllMayReadAreReported(t *testing.T) {
	dir := t.TempDir()
	private, open := filepath.Join(dir, "private"), filepath.Join(dir, "open")
	write(t, private, "x")
	write(t, open, "x")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	reports, done := make(chan []string, 10), make(chan struct{})
	go func() {
		defer close(done)
		Exposed(ctx, []string{private, open}, func(exposed []string) { reports <- exposed })
	}()
	defer func() { cancel(); <-done }()
	if got := <-reports; !slices.Equal(got, []string{open}) {
		t.Errorf("got %v", got)
	}
	if err := os.Chmod(open, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := <-reports; got != nil {
		t.Errorf("got %v", got)
	}
}
