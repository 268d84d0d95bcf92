package profile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// keepQuarantined is how many former profiles are kept, of those that were READY
	// and of the others.
	keepQuarantined = 3
	// readyTime is how long one that was READY is kept at least.
	readyTime = 30 * 24 * time.Hour
	// maxReady is how many of those younger than readyTime make the quarantine full.
	maxReady = 10
	// minQuarantineBytes must be free for another profile next to those that are kept.
	minQuarantineBytes = 2 * MinFreeBytes
)

// Former describes a profile in quarantine.
type Former struct {
	QuarantinedAt time.Time `json:"quarantined_at"`
	Why           string    `json:"why"`
	// Stamp identifies the profile.
	Stamp string `json:"stamp"`
	// LinkedAt is when its last login was linked, zero if it had none.
	LinkedAt time.Time `json:"linked_at,omitzero"`
	// ReadyAt is when a login in it was first READY, zero if none ever was.
	ReadyAt time.Time `json:"ready_at,omitzero"`
}

// formerFile is in a profile in quarantine, and holds its Former.
const formerFile = ".session-manager.former"

func (f Former) name() string { return f.QuarantinedAt.UTC().Format(timeLayout) + "-" + f.Why }

// timeLayout names folders by their time, so that they sort.
const timeLayout = "20060102T150405.000Z"

// partial marks folders that are being made or removed. The next Preflight removes
// them.
const partial = "partial-"

// newPartial returns the path of a new folder in folder that is to be made or removed.
func newPartial(folder string) string { return filepath.Join(folder, partial+suffix()) }

// Quarantine moves the profile, as a whole and within its file system, to a folder
// named by f, and begins an empty one. Others are removed as expired says. Chrome must
// not run.
func (p *Profile) Quarantine(f Former) (name string, err error) {
	if name, err = p.tokens.quarantine(f); err != nil {
		return "", err
	}
	return name, makeFolder(p.Dir())
}

// Replace lets write put a whole profile into an empty folder, and makes that the
// profile. The present one goes to quarantine under the returned name. When write
// fails, nothing has changed. Chrome must not run.
func (p *Profile) Replace(write func(folder string) error, f Former) (string, error) {
	making := newPartial(string(p.tokens))
	defer func() { _ = os.RemoveAll(making) }()
	if err := os.Mkdir(making, 0o700); err != nil {
		return "", unwritable("cannot make folder", err)
	}
	if err := write(making); err != nil {
		return "", err
	}
	if err := syncAll(making); err != nil {
		return "", unwritable("cannot keep profile", err)
	}
	// If the process dies after one of these renames, repair completes or undoes them.
	incoming := p.tokens.path("incoming")
	if err := os.Rename(making, incoming); err != nil {
		return "", unwritable("cannot replace profile", err)
	}
	syncFolder(string(p.tokens))
	name, err := p.tokens.quarantine(f)
	if err != nil {
		return "", errors.Join(err, erase(incoming))
	}
	if err := os.Rename(incoming, p.Dir()); err != nil {
		return name, unwritable("cannot replace profile", err)
	}
	syncFolder(string(p.tokens))
	return name, nil
}

// Restore replaces the profile with a backup, all or nothing: half a profile makes
// the page delete the other half. Everything is copied and checked first; if the
// backup is ErrDamaged, nothing has changed. The replaced profile goes to quarantine
// under the returned name. Chrome must not run.
func (p *Profile) Restore(ctx context.Context, b Backup, f Former) (string, error) {
	return p.Replace(func(folder string) error {
		files, err := copyTree(ctx, p.Backups.Path(b), folder)
		if err != nil {
			return err
		}
		return CheckFiles(b.Files, files)
	}, f)
}

// Erase removes the profile, the quarantine and every backup, and begins an empty
// profile. Chrome must not run.
func (p *Profile) Erase() error {
	return errors.Join(
		erase(p.Dir()),
		erase(p.tokens.path("quarantine")),
		erase(p.tokens.path("backups")),
		makeFolder(p.Dir()),
	)
}

// quarantine leaves no profile.
func (t tokens) quarantine(f Former) (string, error) {
	folder := t.path("quarantine")
	if err := makeFolder(folder); err != nil {
		return "", err
	}
	// One without it counts as valuable.
	_ = JSONFile(filepath.Join(t.profile(), formerFile)).Save(f)
	name := f.name()
	if err := os.Rename(t.profile(), filepath.Join(folder, name)); err != nil {
		return "", unwritable("cannot move profile to quarantine", err)
	}
	syncFolder(folder)
	syncFolder(string(t))
	if found, err := t.former(); err == nil {
		for _, old := range expired(found, f.QuarantinedAt) {
			// What can't be removed now is removed the next time.
			_ = erase(filepath.Join(folder, old))
		}
	}
	return name, nil
}

// quarantined is a folder in quarantine.
type quarantined struct {
	name string
	// ready: its profile was READY once, or may have been.
	ready bool
}

// age returns how long it has been in quarantine.
func (q quarantined) age(now time.Time) time.Duration {
	at, _ := time.Parse(timeLayout, q.name[:min(len(timeLayout), len(q.name))])
	return now.Sub(at)
}

// former lists the profiles in quarantine, newest first.
func (t tokens) former() ([]quarantined, error) {
	folder := t.path("quarantine")
	names, err := dated(folder)
	if err != nil {
		return nil, err
	}
	found := make([]quarantined, 0, len(names))
	for _, name := range names {
		var f Former
		known := JSONFile(filepath.Join(folder, name, formerFile)).Load(&f) == nil && f.name() == name
		found = append(found, quarantined{name, !known || !f.ReadyAt.IsZero()})
	}
	return found, nil
}

// expired returns which of the profiles in quarantine, newest first, need not be kept:
// of those that were never READY all but the newest three, and of the others all but
// the newest three that are older than 30 days.
func expired(found []quarantined, now time.Time) (names []string) {
	count := map[bool]int{}
	for _, q := range found {
		count[q.ready]++
		if count[q.ready] > keepQuarantined && (!q.ready || q.age(now) >= readyTime) {
			names = append(names, q.name)
		}
	}
	return names
}

// full reports whether so many profiles that were READY are in quarantine that another
// could not be kept for 30 days within the limit.
func full(found []quarantined, now time.Time) bool {
	fresh := 0
	for _, q := range found {
		if q.ready && q.age(now) < readyTime {
			fresh++
		}
	}
	return fresh >= maxReady
}

// QuarantineFull reports whether a profile should stay where it is when its link is
// ended: the quarantine has too many, or there is no room for another profile.
func (p *Profile) QuarantineFull(now time.Time) bool {
	found, err := p.tokens.former()
	return err == nil && full(found, now) || CheckSpaceAt(p.Dir(), minQuarantineBytes) != nil
}

// erase renames before it removes, so that a half removed folder is never mistaken
// for a whole one.
func erase(path string) error {
	doomed := newPartial(filepath.Dir(path))
	err := os.Rename(path, doomed)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		syncFolder(filepath.Dir(path))
		err = os.RemoveAll(doomed)
	}
	if err != nil {
		return unwritable("cannot erase "+path, err)
	}
	return nil
}

// repair completes or undoes what a process that died left unfinished.
func (t tokens) repair() error {
	incoming := t.path("incoming")
	if _, err := os.Lstat(incoming); err == nil {
		if _, err := os.Lstat(t.profile()); errors.Is(err, fs.ErrNotExist) {
			if err := os.Rename(incoming, t.profile()); err != nil {
				return unwritable("cannot complete restore", err)
			}
		} else if err := erase(incoming); err != nil {
			return err
		}
	}
	for _, folder := range []string{string(t), t.profile(), t.path("backups"), t.path("quarantine")} {
		names, err := list(folder)
		if err != nil {
			return err
		}
		for _, name := range names {
			if unfinished(name) {
				if err := os.RemoveAll(filepath.Join(folder, name)); err != nil {
					return unwritable("cannot remove unfinished folder", err)
				}
			}
		}
	}
	return nil
}

// unfinishedFile is the form of the names of a JSONFile that is being saved.
var unfinishedFile = regexp.MustCompile(`^\.(admin\.[a-z]+|\.session-manager(\.former)?)[0-9]+$`)

// unfinished reports whether a name is one that we give for what is being made.
func unfinished(name string) bool {
	return strings.HasPrefix(name, partial) || strings.HasPrefix(name, probePrefix) || unfinishedFile.MatchString(name)
}

// dated lists what is named by its time in a folder, newest first.
func dated(folder string) ([]string, error) {
	names, err := list(folder)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		_, err := time.Parse(timeLayout, name[:min(len(timeLayout), len(name))])
		return err != nil
	})
	slices.Sort(names)
	slices.Reverse(names)
	return names, nil
}

// list returns nothing for a folder that does not exist.
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

// syncFolder makes a rename in folder survive a power cut. Where the file system
// can't do that, the rename is valid all the same.
func syncFolder(folder string) {
	f, err := os.OpenFile(folder, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	_ = f.Sync()
}
