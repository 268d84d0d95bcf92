package profile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
// ended: the quarantine has too many, or there is no room for another profile, neither
// where the profile is nor, if that is elsewhere, in the quarantine.
func (p *Profile) QuarantineFull(now time.Time) bool {
	found, err := p.tokens.former()
	if err == nil && full(found, now) {
		return true
	}
	folder := p.tokens.path("quarantine")
	if _, err := os.Stat(folder); err != nil {
		folder = string(p.tokens)
	}
	return CheckSpaceAt(p.Dir(), minQuarantineBytes) != nil || CheckSpaceAt(folder, minQuarantineBytes) != nil
}

// expire removes the profiles in quarantine that need not be kept. What can't be removed
// now is removed the next time.
func (t tokens) expire(now time.Time) {
	found, err := t.former()
	if err != nil {
		return
	}
	for _, old := range expired(found, now) {
		_ = erase(filepath.Join(t.path("quarantine"), old))
	}
}

// dated lists what is named by its time in a folder, newest first.
func dated(folder string) ([]string, error) {
	names, err := list(folder)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !isDated(name) })
	slices.Sort(names)
	slices.Reverse(names)
	return names, nil
}

// isDated reports whether a name begins with a time.
func isDated(name string) bool {
	_, err := time.Parse(timeLayout, name[:min(len(timeLayout), len(name))])
	return err == nil
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
