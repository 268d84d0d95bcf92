package media

import (
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newStore(t *testing.T, l Limits) *Store {
	t.Helper()
	return New(filepath.Join(t.TempDir(), "media"), l)
}

// write returns a finished draft.
func write(t *testing.T, s *Store, text string) *Draft {
	t.Helper()
	d, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(d, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if err := d.Finish(); err != nil {
		t.Fatal(err)
	}
	return d
}

// left are the names in the folder.
func left(t *testing.T, s *Store) string {
	t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// named writes a file that has its name, after another one, as when a transaction is tried again.
func named(t *testing.T, s *Store, n string) *Draft {
	t.Helper()
	d := write(t, s, n)
	if d.Sum() != sha256.Sum256([]byte(n)) || d.Size() != int64(len(n)) {
		t.Errorf("%s has %d bytes", n, d.Size())
	}
	for _, as := range []string{"other-" + n, n} {
		if err := d.Name(as); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestNamedFilesAreKeptByTheirOwners(t *testing.T) {
	s := newStore(t, DefaultLimits())
	named(t, s, "owned").Release()
	named(t, s, "orphan").Release()
	named(t, s, "held")
	unnamed := write(t, s, "draft")
	for path, mode := range map[string]os.FileMode{s.dir: 0o700, s.Path("owned"): 0o600, unnamed.path: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, ".draft-of-a-process-that-was-killed"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "owned-folder", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(func(n string) (bool, error) { return strings.HasPrefix(n, "owned"), nil }); err != nil {
		t.Fatal(err)
	}
	if got, want := left(t, s), filepath.Base(unnamed.path)+" held owned"; got != want {
		t.Errorf("left are %s, not %s", got, want)
	}
	unnamed.Discard()
	if err := unnamed.Name("late"); !errors.Is(err, ErrDiscarded) {
		t.Errorf("a discarded draft: %v", err)
	}
	failure := errors.New("the database is not open")
	if err := s.Sweep(func(string) (bool, error) { return false, failure }); !errors.Is(err, failure) || left(t, s) != "held owned" {
		t.Errorf("%v, left are %s", err, left(t, s))
	}
}

func TestFilesAreBounded(t *testing.T) {
	s := newStore(t, Limits{File: 10, Bytes: 15, Files: 2})
	refused := func(text string, want error) {
		t.Helper()
		d, err := s.Create()
		if err == nil {
			defer d.Discard()
			_, err = io.Copy(d, strings.NewReader(text))
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
	first := write(t, s, "0123456789")
	refused("0123456789+", ErrTooLarge)
	refused("012345", ErrFull)
	second := write(t, s, "01234")
	refused("", ErrFull)
	second.Discard()
	second.Discard()
	refused("01234", nil)
	if err := first.Name("first"); err != nil {
		t.Fatal(err)
	}
	first.Release()
	s = New(s.dir, s.limits) // it counts what it finds
	refused("012345", ErrFull)
	if err := s.Sweep(func(string) (bool, error) { return false, nil }); err != nil {
		t.Fatal(err)
	}
	refused("0123456789", nil)
	s.limits.Reserve = 1 << 62
	refused("", ErrNoSpace)
	for _, bad := range []string{"", ".", "..", "a/b", ".draft-1", "a\x00", strings.Repeat("a", 200)} {
		if Valid(bad) {
			t.Errorf("%q is a name", bad)
		}
	}
}

// Drafts come and go while others are swept; -race checks the rest.
func TestSweepTakesNothingThatIsWritten(t *testing.T) {
	s := newStore(t, DefaultLimits())
	var mu sync.Mutex
	owned := map[string]bool{}
	keep := func(n string) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		return owned[n], nil
	}
	var writers sync.WaitGroup
	for _, n := range []string{"a", "b", "c", "d"} {
		writers.Go(func() {
			d := write(t, s, n)
			if err := d.Name(n); err != nil {
				t.Error(err)
			}
			mu.Lock()
			owned[n] = true
			mu.Unlock()
			d.Release()
		})
	}
	for range 50 {
		if err := s.Sweep(keep); err != nil {
			t.Fatal(err)
		}
	}
	writers.Wait()
	if got := left(t, s); got != "a b c d" {
		t.Errorf("left are %s", got)
	}
}

func TestFolderElsewhereIsNotSwept(t *testing.T) {
	s := newStore(t, DefaultLimits())
	elsewhere := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(elsewhere, "precious"), nil, 0o600), os.Symlink(elsewhere, s.dir)); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(func(string) (bool, error) { return false, nil }); !errors.Is(err, unix.ENOTDIR) || left(t, s) != "precious" {
		t.Errorf("got %v, left are %s", err, left(t, s))
	}
}

func TestImportedFilesReplaceNone(t *testing.T) {
	s, from := newStore(t, DefaultLimits()), newStore(t, DefaultLimits())
	if err := Import(from.dir, s.dir); err != nil {
		t.Errorf("nothing: %v", err)
	}
	for _, f := range []struct {
		store *Store
		name  string
	}{{s, "both"}, {from, "both"}, {from, "new"}} {
		d := write(t, f.store, f.name+" of "+f.store.dir)
		if err := d.Name(f.name); err != nil {
			t.Fatal(err)
		}
		d.Release()
	}
	if err := Import(from.dir, s.dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"both": s.dir, "new": from.dir} {
		if content, err := os.ReadFile(s.Path(name)); err != nil || string(content) != name+" of "+want {
			t.Errorf("%s: %s, %v", name, content, err)
		}
	}
}

func TestFullDiskIsItsOwnError(t *testing.T) {
	folder := t.TempDir()
	if err := unix.Mount("tmpfs", folder, "tmpfs", unix.MS_NODEV, "size=64k,mode=0700"); err != nil {
		t.Skipf("needs root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(folder, unix.MNT_DETACH) })
	s := New(folder, Limits{File: 1 << 20, Bytes: 1 << 20, Files: 10})
	d, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(d, strings.NewReader(strings.Repeat("x", 100<<10))); !errors.Is(err, ErrNoSpace) || strings.Contains(err.Error(), folder) {
		t.Errorf("got %v", err)
	}
	d.Discard()
	if got := left(t, s); got != "" {
		t.Errorf("left are %s", got)
	}
	write(t, s, "it fits").Discard()
}

func TestOldestFilesGiveWayToNewOnes(t *testing.T) {
	s := newStore(t, Limits{File: 10, Bytes: 15, Files: 3, Replace: true})
	for n, content := range []string{"0123456789", "01234"} {
		name := string(rune('a' + n))
		d := write(t, s, content)
		if err := d.Name(name); err != nil {
			t.Fatal(err)
		}
		d.Release()
		at := time.Now().Add(time.Duration(n-9) * time.Hour)
		if err := os.Chtimes(s.Path(name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	held := write(t, s, "0123456789")
	if got, want := left(t, s), filepath.Base(held.path)+" b"; got != want {
		t.Errorf("left are %s, not %s", got, want)
	}
	second := write(t, s, "01234")
	if got := left(t, s); strings.Contains(got, "b") {
		t.Errorf("left are %s", got)
	}
	d, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write([]byte("x")); !errors.Is(err, ErrFull) { // drafts give way to nothing
		t.Errorf("got %v", err)
	}
	for _, d := range []*Draft{held, second, d} {
		d.Discard()
	}
	if s.files != 0 || s.bytes != 0 || left(t, s) != "" {
		t.Errorf("%d files of %d bytes are counted; left are %s", s.files, s.bytes, left(t, s))
	}
}

func TestOnlyWholeFilesAreOpened(t *testing.T) {
	s := newStore(t, DefaultLimits())
	named(t, s, "whole").Release()
	named(t, s, "cut").Release()
	if err := errors.Join(os.Symlink(s.Path("whole"), s.Path("link")), unix.Mkfifo(s.Path("pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	f, err := s.Open("whole", 5)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	for name, size := range map[string]int64{"cut": 5, "pipe": 0, "none": 0} {
		if _, err := s.Open(name, size); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Open("link", 5); !errors.Is(err, ErrDisk) {
		t.Errorf("a link: %v", err)
	}
	if got := left(t, s); got != "link whole" {
		t.Errorf("left are %s", got)
	}
}

func TestSweepBringsFilesWithinLimits(t *testing.T) {
	for _, l := range []Limits{{Bytes: 25, Files: 9, Replace: true}, {Bytes: 99, Files: 2, Replace: true}, {Bytes: 9, Files: 1}} {
		s := newStore(t, DefaultLimits())
		for n, name := range []string{"0123456789", "1123456789", "2123456789", "3123456789"} {
			named(t, s, name).Release()
			at := time.Now().Add(time.Duration(n-9) * time.Hour)
			if err := os.Chtimes(s.Path(name), at, at); err != nil {
				t.Fatal(err)
			}
		}
		s.limits = l
		if err := s.Sweep(func(string) (bool, error) { return true, nil }); err != nil {
			t.Error(err)
		}
		want := "2123456789 3123456789"
		if !l.Replace { // what can't be had again stays
			want = "0123456789 1123456789 " + want
		}
		if got := left(t, s); got != want {
			t.Errorf("%+v: left are %s", l, got)
		}
	}
}

// TestReplacingSeldomReadsTheFolder counts allocations: reading the folder makes some for each file.
func TestReplacingSeldomReadsTheFolder(t *testing.T) {
	const files = 300
	s := newStore(t, Limits{File: 10, Bytes: 10 * files, Files: files, Replace: true})
	next := 0
	replace := func() {
		d := write(t, s, "x")
		next++
		if err := d.Name("f" + strconv.Itoa(next)); err != nil {
			t.Fatal(err)
		}
		d.Release()
	}
	for range files {
		replace()
	}
	if n := testing.AllocsPerRun(50, replace); n > files {
		t.Errorf("%v allocations for each file that is replaced", n)
	}
	if got := strings.Fields(left(t, s)); len(got) != files || s.files != files || s.bytes != files || slices.Contains(got, "f1") || slices.Contains(got, "f51") || !slices.Contains(got, "f52") {
		t.Errorf("left are %d files: %v; counted are %d of %d bytes", len(got), got, s.files, s.bytes)
	}
}
