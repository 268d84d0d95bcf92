// Package apikey holds the keys that callers of the API send, and what each of
// them allows. It keeps only their hashes.
package apikey

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"session-manager/supervisor/internal/watch"
)

// Scope is the set of things that a key allows.
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

// Has reports whether s includes all of want.
func (s Scope) Has(want Scope) bool { return s&want == want }

// Keys is a set of keys. It is immutable, and never empty.
type Keys struct{ entries []entry }

type entry struct {
	sum   [sha256.Size]byte
	scope Scope
}

// Parse reads one key a line: "read:KEY", "command:KEY", or "KEY" for both.
// Empty lines and lines that begin with # are skipped. Its errors name the
// line and never the key.
func Parse(content []byte) (*Keys, error) {
	var keys Keys
	lines := bufio.NewScanner(bytes.NewReader(content))
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
		return nil, errors.New("it holds no key; write one key a line")
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

// unprintable reports whether r can't be sent in a header as it is.
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

// Open returns the keys that the file at path holds. It reads nothing.
func Open(path string) *watch.File[*Keys] {
	return watch.New(func(contents [][]byte) (*Keys, error) { return Parse(contents[0]) }, path)
}
