// Package apikey holds the keys that callers of the API show, and what each of
// them may do. It keeps their hashes only.
package apikey

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
)

// Scope is a set of what a key allows.
type Scope uint8

// What a key may allow.
const (
	// Read: see the state, the QR and the events.
	Read Scope = 1 << iota
	// Command: make the worker or Chrome do something.
	Command
)

// Both is what a key without a scope allows.
const Both = Read | Command

// MinLength is the shortest key, in bytes, that can't be found by trying.
const MinLength = 16

// maxFile bounds a file of keys, in bytes.
const maxFile = 64 << 10

// Has says whether s includes all of want.
func (s Scope) Has(want Scope) bool { return s&want == want }

// Keys is a set of keys. It is immutable, and never empty.
type Keys struct{ entries []entry }

type entry struct {
	sum   [sha256.Size]byte
	scope Scope
}

// Parse reads one key a line: "read:KEY", "command:KEY", or "KEY" for both.
// Empty lines and lines that begin with # are passed over. Its errors name the
// line and never the key.
func Parse(r io.Reader) (*Keys, error) {
	var keys Keys
	lines := bufio.NewScanner(io.LimitReader(r, maxFile))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		scope, key := split(line)
		switch {
		case len(key) < MinLength:
			return nil, fmt.Errorf("line %d: a key has at least %d characters (openssl rand -hex 24 makes a good one)", n, MinLength)
		case strings.ContainsFunc(key, unprintable):
			return nil, fmt.Errorf("line %d: a key consists of visible ASCII characters", n)
		}
		keys.entries = append(keys.entries, entry{sha256.Sum256([]byte(key)), scope})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cannot read keys: %w", err)
	}
	if len(keys.entries) == 0 {
		return nil, errors.New("there is no key in it; write one a line")
	}
	return &keys, nil
}

func split(line string) (Scope, string) {
	if key, ok := strings.CutPrefix(line, "read:"); ok {
		return Read, key
	}
	if key, ok := strings.CutPrefix(line, "command:"); ok {
		return Command, key
	}
	return Both, line
}

// unprintable says that r can't be sent in a header as it is.
func unprintable(r rune) bool { return r <= ' ' || r > '~' }

// Scope returns what key allows; nothing for a key that is not in the set. It
// takes the same time for every key: all are compared, by their hashes.
func (k *Keys) Scope(key string) Scope {
	sum := sha256.Sum256([]byte(key))
	var scope Scope
	for _, e := range k.entries {
		equal := subtle.ConstantTimeCompare(sum[:], e.sum[:])
		scope |= e.scope & Scope(-equal)
	}
	return scope
}

// File is a file of keys that can be read again while it is used. The zero value
// holds no keys. Its methods are safe for concurrent use.
type File struct{ keys atomic.Pointer[Keys] }

// Load reads the keys from path. After an error the keys before it stay.
func (f *File) Load(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot read API keys: %w", err)
	}
	defer func() { _ = file.Close() }()
	keys, err := Parse(file)
	if err != nil {
		return fmt.Errorf("cannot use API keys of %s: %w", path, err)
	}
	f.keys.Store(keys)
	return nil
}

// Keys returns the keys, or nil when there are none.
func (f *File) Keys() *Keys { return f.keys.Load() }
