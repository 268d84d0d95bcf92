package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// MarkVerified notes with the snapshot called name that it was opened on trial at that
// time.
func (p *Profile) MarkVerified(name string, at time.Time) error {
	path := filepath.Join(p.path("backups"), name, manifestFile)
	data, err := readBounded(path, maxManifest)
	if err != nil {
		return err
	}
	m, err := ParseManifest(data)
	if err != nil {
		return err
	}
	m.VerifiedAt = at
	if data, err = json.MarshalIndent(m, "", " "); err != nil {
		return fmt.Errorf("cannot marshal manifest: %w", err)
	}
	if err := renameio.WriteFile(path, data, 0o600); err != nil {
		return unwritable("cannot write manifest", err)
	}
	return nil
}

// Discard removes the snapshot called name.
func (p *Profile) Discard(name string) error {
	folder := p.path("backups")
	// Half of it must never be taken for the whole.
	doomed := filepath.Join(folder, partial+suffix())
	if err := os.Rename(filepath.Join(folder, name), doomed); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return unwritable("cannot remove snapshot", err)
	}
	if err := os.RemoveAll(doomed); err != nil {
		return unwritable("cannot remove snapshot", err)
	}
	return nil
}

// Thin removes the snapshots that need not be kept any more. Call it when it is
// known what the newest one is worth. What can't be removed now is removed the next
// time.
func (p *Profile) Thin() error {
	names, err := dated(p.path("backups"))
	if err != nil {
		return err
	}
	known, err := p.Backups()
	if err != nil {
		return err
	}
	verified := make(map[string]bool, len(known))
	for _, s := range known {
		verified[s.Name] = !s.VerifiedAt.IsZero()
	}
	var failed []error
	for _, name := range surplus(names, verified) {
		failed = append(failed, p.Discard(name))
	}
	return errors.Join(failed...)
}

// surplus says which snapshots, newest first, are too many: one that was made
// shortly before the newest, and all but the newest three. But none that was
// verified gives way to one that was not, and if there is a verified one at all, one
// of those that stay is.
func surplus(names []string, verified map[string]bool) []string {
	var gone []string
	drop := func(i int) {
		gone = append(gone, names[i])
		names = append(names[:i:i], names[i+1:]...)
	}
	if len(names) > 2 && tooClose(names[1], names[0]) && (verified[names[0]] || !verified[names[1]]) {
		drop(1)
	}
	for len(names) > keepSnapshots {
		last := len(names) - 1
		if verified[names[last]] && !anyOf(names[:last], verified) {
			last--
		}
		drop(last)
	}
	return gone
}

func anyOf(names []string, verified map[string]bool) bool {
	for _, name := range names {
		if verified[name] {
			return true
		}
	}
	return false
}

// tooClose says that one snapshot was made shortly before another.
func tooClose(before, after string) bool {
	from, err := time.Parse(stampLayout, before)
	to, afterErr := time.Parse(stampLayout, after)
	return err == nil && afterErr == nil && to.Sub(from) >= 0 && to.Sub(from) < spacing
}

// TempDir makes a private folder on the profile's file system, for one more copy, and
// returns what removes it. What a death leaves of it goes at the next Open. The
// error carries reason.DiskFull when a copy would leave too little room for Chrome.
func (p *Profile) TempDir() (path string, remove func() error, err error) {
	if err := p.spaceForBackup(); err != nil {
		return "", nil, err
	}
	path = p.path(partial + suffix())
	if err := os.Mkdir(path, 0o700); err != nil {
		return "", nil, unwritable("cannot make folder", err)
	}
	return path, func() error { return os.RemoveAll(path) }, nil
}
