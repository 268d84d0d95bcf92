package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What is kept beside the profile, of each the newest.
const (
	keepQuarantined = 3
	keepSnapshots   = 3
)

// stampLayout names folders by their time, so that they sort.
const stampLayout = "20060102T150405.000Z"

// partial marks folders that are being made or erased. None outlives the next
// Preflight.
const partial = "partial-"

// Quarantine moves the profile aside, as a whole and on its own file system, to
// a folder named by now and why, and begins an empty one. No login is ever lost
// by it: the newest three are kept. Chrome must not run.
func (p *Profile) Quarantine(why string, now time.Time) (name string, err error) {
	if name, err = p.moveAside(why, now); err != nil {
		return "", err
	}
	return name, makeFolder(p.Dir())
}

func (p *Profile) moveAside(why string, now time.Time) (string, error) {
	folder := p.path("quarantine")
	if err := makeFolder(folder); err != nil {
		return "", err
	}
	name := now.UTC().Format(stampLayout) + "-" + why
	if err := os.Rename(p.Dir(), filepath.Join(folder, name)); err != nil {
		return "", unwritable("cannot move profile to quarantine", err)
	}
	syncFolder(folder)
	syncFolder(p.tokens)
	// What can't be removed now is removed the next time.
	_ = prune(folder, keepQuarantined)
	return name, nil
}

// Erase removes the profile, what is in quarantine, and every snapshot, and
// begins an empty profile. Chrome must not run.
func (p *Profile) Erase() error {
	var failed []error
	for _, path := range []string{p.Dir(), p.path("quarantine"), p.path("backups")} {
		failed = append(failed, p.erase(path))
	}
	failed = append(failed, makeFolder(p.Dir()))
	return errors.Join(failed...)
}

// erase renames before it removes, so that a half removed folder is never taken
// for a profile.
func (p *Profile) erase(path string) error {
	doomed := p.path(partial + suffix())
	if err := os.Rename(path, doomed); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return unwritable("cannot erase "+path, err)
	}
	syncFolder(p.tokens)
	if err := os.RemoveAll(doomed); err != nil {
		return unwritable("cannot erase "+path, err)
	}
	return nil
}

// mend finishes or undoes what a death in the middle has left.
func (p *Profile) mend() error {
	incoming := p.path("incoming")
	if _, err := os.Lstat(incoming); err == nil {
		if _, err := os.Lstat(p.Dir()); errors.Is(err, fs.ErrNotExist) {
			if err := os.Rename(incoming, p.Dir()); err != nil {
				return unwritable("cannot finish restore", err)
			}
		} else if err := p.erase(incoming); err != nil {
			return err
		}
	}
	for _, folder := range []string{p.tokens, p.path("backups")} {
		names, err := list(folder)
		if err != nil {
			return err
		}
		for _, name := range names {
			if strings.HasPrefix(name, session+"."+partial) || strings.HasPrefix(name, partial) {
				if err := os.RemoveAll(filepath.Join(folder, name)); err != nil {
					return unwritable("cannot remove leftover", err)
				}
			}
		}
	}
	return nil
}

// prune removes all but the newest folders.
func prune(folder string, keep int) error {
	names, err := dated(folder)
	if err != nil {
		return err
	}
	for _, name := range names[min(keep, len(names)):] {
		if err := os.RemoveAll(filepath.Join(folder, name)); err != nil {
			return unwritable("cannot remove old copy", err)
		}
	}
	return nil
}

// dated lists what a folder holds that is named by its time, newest first.
func dated(folder string) ([]string, error) {
	names, err := list(folder)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		_, err := time.Parse(stampLayout, name[:min(len(stampLayout), len(name))])
		return err != nil
	})
	slices.Sort(names)
	slices.Reverse(names)
	return names, nil
}

// list returns nothing for a folder that is not there.
func list(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, unwritable("cannot list folder", err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// syncFolder makes a rename in folder outlive a power cut. Where the file system
// can't do that the rename holds all the same.
func syncFolder(folder string) {
	f, err := os.OpenFile(folder, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	_ = f.Sync()
}

// Quarantined returns the names of the folders in quarantine, newest first.
func (p *Profile) Quarantined() ([]string, error) {
	names, err := dated(p.path("quarantine"))
	if err != nil {
		return nil, fmt.Errorf("cannot list quarantine: %w", err)
	}
	return names, nil
}
