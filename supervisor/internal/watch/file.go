package watch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"strings"
	"sync/atomic"
	"time"

	"session-manager/supervisor/internal/smallfile"
)

// File is what one or more files hold together: the last good version of it, and
// what is wrong with the newest. Load and Watch are for one goroutine at a time, the
// other methods for any.
type File[T any] struct {
	paths    []string
	parse    func(contents [][]byte) (T, error)
	optional bool
	state    atomic.Pointer[State[T]]
	// loaded reports whether Load was called.
	loaded bool
	// sum is of the contents last parsed, and refused is why they can't be used.
	sum     [sha256.Size]byte
	refused error
}

// State is the version in use.
type State[T any] struct {
	// Value is zero as long as nothing good was read, and must not be changed.
	Value T
	// Since is when it came into use, and ReadAt when the files were last found to hold it.
	Since, ReadAt time.Time
	// Err is why the newest version is not used; nil when it is. FailedAt is when that was
	// last found.
	Err      error
	FailedAt time.Time
}

// Lapsed reports whether the files were not found to hold the value for the time of grace,
// and cannot be used now either. That they could not be used before this process was
// stopped for a while proves nothing: it reads them again as soon as it continues.
func (s State[T]) Lapsed(grace time.Duration, now time.Time) bool {
	return s.Err != nil && now.Sub(s.ReadAt) >= grace && now.Sub(s.FailedAt) < recheck+slow
}

// New returns what the files at paths hold, of which parse makes the value. Nothing is
// read before Load.
func New[T any](parse func(contents [][]byte) (T, error), paths ...string) *File[T] {
	f := &File[T]{paths: paths, parse: parse}
	f.state.Store(&State[T]{Since: time.Now()})
	return f
}

// Optional lets files be missing, or paths be empty: parse gets nil for those.
func (f *File[T]) Optional() *File[T] {
	f.optional = true
	return f
}

// Path returns the first path.
func (f *File[T]) Path() string { return f.paths[0] }

// State returns the present state. It never blocks.
func (f *File[T]) State() State[T] { return *f.state.Load() }

// Value returns the value in use.
func (f *File[T]) Value() T { return f.state.Load().Value }

// Load reads the files, until ctx ends. After an error what was in use stays so.
func (f *File[T]) Load(ctx context.Context) error {
	f.loaded = true
	r, err := smallfile.Within(ctx, strings.Join(f.paths, " with "), func() (reading, error) { return f.read(), nil })
	if err != nil {
		r = reading{at: time.Now(), err: err}
	}
	f.use(r)
	return f.State().Err
}

// Watch loads the files each time that they have changed since Load was called, and
// every so often as long as they can't be used. It calls changed when what is in use, or
// why the newest version is not, has changed, until ctx ends. It returns at once when
// Load was never called.
func (f *File[T]) Watch(ctx context.Context, changed func(State[T])) {
	if !f.loaded {
		return
	}
	use := func(r reading) {
		if f.use(r) {
			changed(f.State())
		}
	}
	poll(ctx, f.paths, f.read, use, func() { use(reading{at: time.Now(), err: smallfile.ErrSlow}) })
}

// reading is what one attempt to read the files found.
type reading struct {
	// at is when it began: what happened later may have been missed.
	at       time.Time
	contents [][]byte
	err      error
}

func (f *File[T]) read() reading {
	r := reading{at: time.Now(), contents: make([][]byte, len(f.paths))}
	for i, path := range f.paths {
		content, err := smallfile.Read(path, smallfile.Max)
		switch {
		case f.optional && errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			r.err = err
			return r
		}
		r.contents[i] = content
	}
	return r
}

// use applies a reading, and reports whether it changed anything but ReadAt.
func (f *File[T]) use(r reading) (changed bool) {
	old := f.State()
	next := old
	if next.Err = r.err; r.err == nil {
		if sum := sumOf(r.contents); sum != f.sum {
			var value T
			f.sum = sum
			if value, f.refused = f.parse(r.contents); f.refused == nil {
				next.Value, next.Since = value, r.at
			}
		}
		if next.Err = f.refused; next.Err == nil {
			next.ReadAt = r.at
		}
	}
	if next.Err != nil {
		next.FailedAt = r.at
		next.Err = fmt.Errorf("cannot use %s: %w", strings.Join(f.paths, " with "), next.Err)
	}
	f.state.Store(&next)
	return !next.Since.Equal(old.Since) || fmt.Sprint(next.Err) != fmt.Sprint(old.Err)
}

// sumOf returns a hash by which contents are recognised. Keys are not kept in memory for
// that.
func sumOf(contents [][]byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, content := range contents {
		add(h, content)
	}
	h.Sum(sum[:0])
	return sum
}

// add distinguishes an empty file from a missing one, and where one file ends.
func add(h hash.Hash, content []byte) {
	_, _ = fmt.Fprintf(h, "%v %d ", content != nil, len(content))
	_, _ = h.Write(content)
}
