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
	"time"

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
	// Send: send messages, and see those that were sent.
	Send
	// Receive: see what others write to the account, and mark it as read.
	Receive
)

// All is what a key without a scope allows. No scope implies another: a key that is to
// have two of them has two lines.
const All = Read | Command | Send | Receive

// scopes are the words before a colon.
var scopes = map[string]Scope{"read": Read, "command": Command, "send": Send, "receive": Receive}

// MinLength is the shortest key, in bytes, that can't be found by trying.
const MinLength = 16

// Has reports whether s includes all of want.
func (s Scope) Has(want Scope) bool { return s&want == want }

// String returns the word for s before a colon, or nothing if s has several.
func (s Scope) String() string {
	for name, scope := range scopes {
		if scope == s {
			return name
		}
	}
	return ""
}

// Keys is a set of keys. It is immutable, and empty only when the keys have lapsed.
type Keys struct{ entries []entry }

type entry struct {
	sum   [sha256.Size]byte
	scope Scope
}

// Parse reads one key a line: "read:KEY", "command:KEY", "send:KEY", "receive:KEY", or
// "KEY" for everything, which has no colon. Empty lines and lines that begin with # are skipped. Its errors name the
// line and never the key.
func Parse(content []byte) (*Keys, error) {
	var keys Keys
	err := each(content, func(scope Scope, key string) {
		keys.entries = append(keys.entries, entry{sha256.Sum256([]byte(key)), scope})
	})
	if err != nil {
		return nil, err
	}
	return &keys, nil
}

// Pick returns the first key in content that allows scope, preferably one without a scope of
// its own, or nothing. Errors are as for Parse.
func Pick(content []byte, scope Scope) (key string, err error) {
	var best Scope
	err = each(content, func(s Scope, k string) {
		if s.Has(scope) && (key == "" || s == All && best != All) {
			key, best = k, s
		}
	})
	return key, err
}

// each calls found with each key in content.
func each(content []byte, found func(Scope, string)) error {
	none := true
	lines := bufio.NewScanner(bytes.NewReader(content))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		scope, key := split(line)
		switch {
		case scope == 0:
			return fmt.Errorf("line %d: what precedes the colon is not a scope; write read:KEY, command:KEY, send:KEY, receive:KEY, or a KEY without a colon", n)
		case len(key) < MinLength:
			return fmt.Errorf("line %d: a key has at least %d characters (openssl rand -hex 24 makes a good one)", n, MinLength)
		case strings.ContainsFunc(key, unprintable):
			return fmt.Errorf("line %d: a key consists of visible ASCII characters", n)
		}
		found(scope, key)
		none = false
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("cannot read keys: %w", err)
	}
	if none {
		return errors.New("it holds no key; write one key a line")
	}
	return nil
}

// split returns the scope and the key of a line; no scope when it is not a known one.
func split(line string) (Scope, string) {
	name, key, ok := strings.Cut(line, ":")
	if !ok {
		return All, line
	}
	return scopes[name], key
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

// Grace is how long keys stay valid while their file can't be used: it was removed,
// can't be read, or has an error. The key that somebody wanted to revoke may be among
// them.
const Grace = time.Minute

// File is the file of keys.
type File struct{ *watch.File[*Keys] }

// Open returns the keys that the file at path holds. It reads nothing.
func Open(path string) *File {
	return &File{watch.New(func(contents [][]byte) (*Keys, error) { return Parse(contents[0]) }, path)}
}

// InForce returns the keys that are valid now, and nil as long as none were read.
func (f *File) InForce() *Keys { return inForce(f.State(), time.Now()) }

func inForce(s watch.State[*Keys], now time.Time) *Keys {
	if s.Value != nil && s.Lapsed(Grace, now) {
		return &Keys{}
	}
	return s.Value
}
