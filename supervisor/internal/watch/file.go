package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// MaxSize bounds the files that settings name, in bytes.
const MaxSize = 1 << 20

// Read returns the content of a file of at most MaxSize bytes.
func Read(path string) ([]byte, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	content, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err == nil && len(content) > MaxSize {
		err = fmt.Errorf("%s is larger than %d bytes", path, MaxSize)
	}
	return content, err
}

// File is what one or more files hold together: the last good version of it, and
// what is wrong with the newest. Load and Watch are for one goroutine at a time, the
// other methods for any.
type File[T any] struct {
	paths    []string
	parse    func(contents [][]byte) (T, error)
	optional bool
	seen     Set
	state    atomic.Pointer[State[T]]
}

// State is the version in use.
type State[T any] struct {
	// Value is zero as long as nothing good was read, and must not be changed.
	Value T
	// Since is when it came into use.
	Since time.Time
	// Err is why the newest version is not used; nil when it is.
	Err error
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

// Load reads the files. After an error what was in use stays so.
func (f *File[T]) Load() error {
	f.seen = NewSet(f.paths...)
	f.seen.optional = f.optional
	value, err := f.read()
	if err != nil {
		next := f.State()
		next.Err = err
		f.state.Store(&next)
		return fmt.Errorf("cannot use %s: %w", strings.Join(f.paths, " with "), err)
	}
	f.state.Store(&State[T]{Value: value, Since: time.Now()})
	return nil
}

func (f *File[T]) read() (value T, err error) {
	contents := make([][]byte, len(f.paths))
	for i, path := range f.paths {
		contents[i], err = Read(path)
		if f.optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return value, err
		}
	}
	return f.parse(contents)
}

// Watch loads the files each time that they have changed since Load was called, and
// calls loaded with what Load returned, until ctx ends. It returns at once when Load
// was never called.
func (f *File[T]) Watch(ctx context.Context, loaded func(error)) {
	if f.seen.paths == nil {
		return
	}
	f.seen.Watch(ctx, func() { loaded(f.Load()) })
}
