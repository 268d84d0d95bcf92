package watch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
	if err := New(parse, "").Optional().Load(); err != nil {
		t.Errorf("no path: %v", err)
	}
	f := New(parse, path).Optional()
	put := func(content string) error {
		t.Helper()
		write(t, path, content)
		return f.Load()
	}
	expect := func(name string, err error, value string) {
		t.Helper()
		if err != nil || f.State().Err != nil || f.Value() != value {
			t.Fatalf("%s: %v, %+v", name, err, f.State())
		}
	}
	expect("without a file", f.Load(), "")
	expect("a good file", put("good 1"), "good 1")
	since := f.State().Since
	for name, bad := range map[string]string{"empty": "", "bad": "bad", "too large": "good" + strings.Repeat(" ", MaxSize)} {
		if err := put(bad); err == nil || !strings.Contains(err.Error(), path) || f.State().Err == nil || f.Value() != "good 1" || f.State().Since != since {
			t.Errorf("%s: got %v, %+v", name, err, f.State())
		}
	}
	expect("fixed", put("good 2"), "good 2")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("removed", f.Load(), "")
}

func TestRequiredFileThatIsMissingIsAnError(t *testing.T) {
	f := New(func(contents [][]byte) (int, error) { return len(contents), nil }, "/nonexistent/a", "/nonexistent/b")
	if err := f.Load(); !errors.Is(err, os.ErrNotExist) || f.State().Err == nil {
		t.Errorf("got %v", err)
	}
}

func TestChangeAfterTheLoadIsLoaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "1")
	f := New(func(contents [][]byte) (string, error) { return string(contents[0]), nil }, path)
	if err := f.Load(); err != nil {
		t.Fatal(err)
	}
	write(t, path, "another one")
	ctx, cancel := context.WithCancel(t.Context())
	f.Watch(ctx, func(err error) {
		if err != nil || f.Value() != "another one" {
			t.Errorf("got %q, %v", f.Value(), err)
		}
		cancel()
	})
}
