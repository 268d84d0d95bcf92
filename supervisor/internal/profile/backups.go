package profile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"session-manager/shared/strictjson"
)

// Manifest describes a backup.
type Manifest struct {
	// Format is ManifestFormat.
	Format    int       `json:"format"`
	CreatedAt time.Time `json:"created_at"`
	// Stamp identifies the profile, and LinkedAt the login in it.
	Stamp    string    `json:"stamp"`
	LinkedAt time.Time `json:"linked_at"`
	// PersistedAt and ReadyAt are when the login was on disk and usable.
	PersistedAt   time.Time `json:"persisted_at"`
	ReadyAt       time.Time `json:"ready_at"`
	ChromeVersion string    `json:"chrome_version"`
	// VerifiedAt is when the backup was opened in a Chrome, zero if it never was.
	VerifiedAt time.Time `json:"verified_at,omitzero"`
	Files      []File    `json:"files"`
	// Outbox are the messages in an exported file, Media their files, and Inbox those that were
	// received. Backups have none.
	Outbox *File  `json:"outbox,omitempty"`
	Inbox  *File  `json:"inbox,omitempty"`
	Media  []File `json:"media,omitempty"`
}

// ManifestFormat is the format of manifests that this version writes and reads.
const ManifestFormat = 1

// Names in a backup's folder.
const (
	manifestFile  = "manifest.json"
	profileFolder = "profile"
)

const (
	keepBackups = 3
	// spacing is how far apart in time kept backups should be. A backup that is made
	// sooner replaces the last one, so that a few restarts in a row don't push out
	// all older ones.
	spacing = time.Hour
)

// ErrNotClosed means that Chrome's lock is in the profile: Chrome runs, or was killed.
var ErrNotClosed = errors.New("Chrome has not closed cleanly")

// Backup is a cold copy of the profile on disk.
type Backup struct {
	// Name of its folder in admin.backups.
	Name string
	Manifest
}

// Verified reports whether the backup was opened in a Chrome.
func (b Backup) Verified() bool { return !b.VerifiedAt.IsZero() }

// Backups are those of a profile.
type Backups struct{ tokens tokens }

func (b Backups) folder() string { return b.tokens.path("backups") }

// Path returns the folder with the profile's files in a backup.
func (b Backups) Path(backup Backup) string {
	return filepath.Join(b.folder(), backup.Name, profileFolder)
}

// List returns the backups whose manifest can be read, newest first. It does not
// look at their files.
func (b Backups) List() ([]Backup, error) {
	names, err := dated(b.folder())
	if err != nil {
		return nil, err
	}
	var found []Backup
	for _, name := range names {
		if m, err := b.readManifest(name); err == nil {
			found = append(found, Backup{name, m})
		}
	}
	return found, nil
}

// Create copies the closed profile, without its caches, to a dated folder, whole or
// not at all. It fills in m's Format and Files, and removes no other backup: see Thin.
// It fails when ctx ends, with ErrNotClosed when Chrome has not closed cleanly, with
// ErrNoLogin, and with reason.DiskFull when too little room would be left for Chrome.
func (b Backups) Create(ctx context.Context, m Manifest) (name string, err error) {
	profile := b.tokens.profile()
	if _, err := os.Lstat(filepath.Join(profile, lockFile)); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot back up profile: %w", ErrNotClosed)
	}
	if err := makeFolder(b.folder()); err != nil {
		return "", err
	}
	if err := checkSpaceForCopy(profile, b.folder()); err != nil {
		return "", err
	}
	making := newPartial(b.folder())
	defer func() { _ = os.RemoveAll(making) }()
	copied := filepath.Join(making, profileFolder)
	if err := os.MkdirAll(copied, 0o700); err != nil {
		return "", unwritable("cannot make backup", err)
	}
	if m.Files, err = copyTree(ctx, profile, copied); err != nil {
		return "", err
	}
	if err := CheckLogin(m.Files); err != nil {
		return "", fmt.Errorf("cannot back up profile: %w", err)
	}
	m.Format = ManifestFormat
	if err := JSONFile(filepath.Join(making, manifestFile)).Save(m); err != nil {
		return "", err
	}
	syncFolder(making)
	name = m.CreatedAt.UTC().Format(timeLayout)
	if err := os.Rename(making, filepath.Join(b.folder(), name)); err != nil {
		return "", unwritable("cannot keep backup", err)
	}
	syncFolder(b.folder())
	return name, nil
}

// MarkVerified records that the backup called name was opened in a Chrome at that time.
func (b Backups) MarkVerified(name string, at time.Time) error {
	m, err := b.readManifest(name)
	if err != nil {
		return err
	}
	m.VerifiedAt = at
	return b.manifest(name).Save(m)
}

// Remove removes the backup called name, if there is one.
func (b Backups) Remove(name string) error { return erase(filepath.Join(b.folder(), name)) }

// Thin removes the backups that need not be kept. Call it once it is known whether
// the newest one is of use. What can't be removed now is removed the next time.
func (b Backups) Thin() error {
	names, err := dated(b.folder())
	if err != nil {
		return err
	}
	known, err := b.List()
	if err != nil {
		return err
	}
	verified := make(map[string]bool, len(known))
	for _, backup := range known {
		verified[backup.Name] = backup.Verified()
	}
	var failed []error
	for _, name := range surplus(names, verified) {
		failed = append(failed, b.Remove(name))
	}
	return errors.Join(failed...)
}

// surplus returns which backups, newest first, are too many: one that was made
// shortly before the newest, and all but the newest three. But no verified backup
// gives way to an unverified one, and if any is verified, one of those kept is.
func surplus(names []string, verified map[string]bool) []string {
	var gone []string
	drop := func(i int) {
		gone = append(gone, names[i])
		names = append(names[:i:i], names[i+1:]...)
	}
	isVerified := func(name string) bool { return verified[name] }
	if len(names) > 2 && tooClose(names[1], names[0]) && (verified[names[0]] || !verified[names[1]]) {
		drop(1)
	}
	for len(names) > keepBackups {
		last := len(names) - 1
		if verified[names[last]] && !slices.ContainsFunc(names[:last], isVerified) {
			last--
		}
		drop(last)
	}
	return gone
}

// tooClose reports whether one backup was made shortly before another.
func tooClose(before, after string) bool {
	from, err := time.Parse(timeLayout, before)
	to, afterErr := time.Parse(timeLayout, after)
	return err == nil && afterErr == nil && to.Sub(from) >= 0 && to.Sub(from) < spacing
}

func (b Backups) manifest(name string) JSONFile {
	return JSONFile(filepath.Join(b.folder(), name, manifestFile))
}

func (b Backups) readManifest(name string) (Manifest, error) {
	data, err := b.manifest(name).read()
	if err != nil {
		return Manifest{}, err
	}
	return ParseManifest(data)
}

// ParseManifest reads a manifest. Anything else, and an unknown format, is
// ErrDamaged.
func ParseManifest(data []byte) (Manifest, error) {
	var m Manifest
	if err := strictjson.Unmarshal(data, &m); err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if m.Format != ManifestFormat {
		return Manifest{}, fmt.Errorf("%w: its format is %d, and this version knows %d", ErrDamaged, m.Format, ManifestFormat)
	}
	return m, nil
}
