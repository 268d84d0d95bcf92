// Package override keeps the selectors file that an operator may put in the
// place of the built-in one: the last good version of it, and what became of the
// newest.
package override

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"session-manager/shared/selectors"
)

// maxSize bounds the file. The built-in one has 20 kB.
const maxSize = 1 << 20

// State is what the page is read by, and what became of the newest file.
type State struct {
	// File is the content in force, empty for the built-in selectors. It must
	// not be changed.
	File []byte
	// Since is when it came into force.
	Since time.Time
	// Refused says where and why the newest file was not taken, empty if it was.
	Refused string
}

// File is the file at a path. Load is for one goroutine at a time; State is for
// any.
type File struct {
	path  string
	state atomic.Pointer[State]
}

// New returns the file at path, which need not exist. An empty path stands for
// no file at all. Nothing is read before Load.
func New(path string) *File {
	f := &File{path: path}
	f.state.Store(&State{Since: time.Now()})
	return f
}

// Path returns the path, empty when there is none.
func (f *File) Path() string { return f.path }

// State returns the present state. It never blocks.
func (f *File) State() State { return *f.state.Load() }

// Load reads the file. One that is not valid is refused with its line and the
// reason, and what was in force stays so; one that is gone gives way to the
// built-in selectors.
func (f *File) Load() error {
	next := f.State()
	content, err := f.read()
	if err == nil {
		_, err = selectors.Read(content)
	}
	if err != nil {
		next.Refused = err.Error()
		f.state.Store(&next)
		return fmt.Errorf("cannot use %s: %w", f.path, err)
	}
	f.state.Store(&State{File: content, Since: time.Now()})
	return nil
}

func (f *File) read() ([]byte, error) {
	if f.path == "" {
		return nil, nil
	}
	r, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	content, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	switch {
	case err != nil:
		return nil, err
	case len(content) == 0:
		return nil, errors.New("line 1: the file is empty; remove it to go back to the built-in selectors")
	case len(content) > maxSize:
		return nil, fmt.Errorf("it is larger than %d bytes", maxSize)
	}
	return content, nil
}
