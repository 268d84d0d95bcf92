package watch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watching starts a watch and returns the channel of its calls. The first file
// is changed by the test until the watch is proven to be there.
func watching(t *testing.T, paths ...string) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	calls, done := make(chan struct{}, 100), make(chan struct{})
	go func() {
		defer close(done)
		NewSet(paths...).Watch(ctx, func() { calls <- struct{}{} })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	first := paths[0]
	if target, err := filepath.EvalSymlinks(first); err == nil {
		first = target
	}
	for n := 0; ; n++ {
		// By rename, which is one change: a file that is written is empty before.
		write(t, first+".new", time.Now().String())
		if err := os.Rename(first+".new", first); err != nil {
			t.Fatal(err)
		}
		select {
		case <-calls:
			if n > 0 {
				drain(calls) // of what was written more than once
			}
			return calls
		case <-time.After(2 * settle):
		}
	}
}

// drain returns when nothing more is reported.
func drain(calls <-chan struct{}) {
	for {
		select {
		case <-calls:
		case <-time.After(3 * settle):
			return
		}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func wait(t *testing.T, calls <-chan struct{}) {
	t.Helper()
	select {
	case <-calls:
	case <-time.After(10 * time.Second):
		t.Fatal("no change was reported")
	}
}

func TestEveryWayToReplaceAFileIsSeen(t *testing.T) {
	for name, replace := range map[string]func(t *testing.T, path string){
		"written in place": func(t *testing.T, path string) { write(t, path, "another content") },
		"by rename": func(t *testing.T, path string) {
			write(t, path+".new", "another content")
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		},
		"removed and made": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			write(t, path, "another content")
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			calls := watching(t, path)
			replace(t, path)
			wait(t, calls)
		})
	}
}

func TestMovedLinkIsSeen(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"1", "2"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "key"), version)
	}
	link := func(version string) {
		t.Helper()
		if err := os.Symlink(version, filepath.Join(dir, "next")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "data")); err != nil {
			t.Fatal(err)
		}
	}
	link("1")
	path := filepath.Join(dir, "key")
	if err := os.Symlink(filepath.Join("data", "key"), path); err != nil {
		t.Fatal(err)
	}
	calls := watching(t, path)
	link("2")
	wait(t, calls)
}

func TestOtherFilesOfTheFolderAreIgnored(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	calls := watching(t, path)
	write(t, filepath.Join(dir, "other"), "x")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	select {
	case <-calls:
		t.Error("another file was reported")
	case <-time.After(3 * settle):
	}
}

func TestAPairOfFilesIsReportedOnce(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	write(t, cert, "0")
	write(t, key, "0")
	calls := watching(t, cert, key)
	for n, late := 0, true; late; n++ { // A busy machine may pause between the two.
		drain(calls)
		begun := time.Now()
		write(t, cert, fmt.Sprint("the next one ", n))
		write(t, key, fmt.Sprint("the next one ", n))
		late = time.Since(begun) > settle/2
	}
	wait(t, calls)
	select {
	case <-calls:
		t.Error("it was reported twice")
	case <-time.After(3 * settle):
	}
}

func TestOptionalFileIsSeenToComeAndGo(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "folder/below/file")
	calls, done := make(chan struct{}, 100), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	set := NewOptionalSet(path)
	go func() {
		defer close(done)
		set.Watch(ctx, func() { calls <- struct{}{} })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	for _, folder := range []string{filepath.Join(dir, "folder"), filepath.Dir(path)} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * settle)
	}
	write(t, path, "here")
	wait(t, calls)
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	wait(t, calls)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	wait(t, calls)
	if err := os.Symlink("nowhere", path); err != nil {
		t.Fatal(err)
	}
	wait(t, calls)
}
