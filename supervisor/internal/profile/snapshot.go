package profile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Manifest describes a copy of the profile.
type Manifest struct {
	// Format is ManifestFormat.
	Format int `json:"format"`
	// At is when the copy was made.
	At time.Time `json:"at"`
	// Stamp names the profile, and LinkedAt the login in it.
	Stamp    string    `json:"stamp"`
	LinkedAt time.Time `json:"linked_at"`
	// PersistedAt and ReadyAt say that the login was on disk and usable.
	PersistedAt   time.Time `json:"persisted_at"`
	ReadyAt       time.Time `json:"ready_at"`
	ChromeVersion string    `json:"chrome_version"`
	// VerifiedAt is when the copy was opened in a Chrome on trial, zero if it never
	// was.
	VerifiedAt time.Time `json:"verified_at,omitzero"`
	Files      []File    `json:"files"`
}

// ManifestFormat is the form of manifests that this version writes and reads.
const ManifestFormat = 1

// Names in a snapshot's folder.
const (
	manifestFile  = "manifest.json"
	profileFolder = "profile"
)

// maxManifest bounds a manifest, in bytes. One of a large profile has 100 kB.
const maxManifest = 16 << 20

// spacing is how far apart in time kept snapshots should be. One that is made
// sooner replaces the last one, so that a few restarts in a row don't push out
// all that is older.
const spacing = time.Hour

// Backup is a copy of the profile on disk.
type Backup struct {
	// Name of its folder in admin.backups.
	Name string
	Manifest
}

// ErrNotClosed means that Chrome's lock is in the profile: it runs, or was killed.
var ErrNotClosed = errors.New("Chrome has not closed cleanly")

// Backup copies the closed profile, without its caches, to a dated folder,
// whole or not at all. None that is there goes before Thin. Chrome must have closed
// cleanly, or it is ErrNotClosed. It fills in m's Format and Files. There is no
// snapshot when ctx ends, nor (reason.DiskFull) when it would leave too little
// room for Chrome.
func (p *Profile) Backup(ctx context.Context, m Manifest) (string, error) {
	if _, err := os.Lstat(filepath.Join(p.Dir(), lockFile)); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot copy profile: %w", ErrNotClosed)
	}
	folder := p.path("backups")
	if err := makeFolder(folder); err != nil {
		return "", err
	}
	if err := p.spaceForBackup(); err != nil {
		return "", err
	}
	making := filepath.Join(folder, partial+suffix())
	defer func() { _ = os.RemoveAll(making) }()
	if err := os.MkdirAll(filepath.Join(making, profileFolder), 0o700); err != nil {
		return "", unwritable("cannot make snapshot", err)
	}
	var err error
	if m.Files, err = copyTree(ctx, p.Dir(), filepath.Join(making, profileFolder)); err != nil {
		return "", err
	}
	m.Format = ManifestFormat
	if err := writeManifest(filepath.Join(making, manifestFile), m); err != nil {
		return "", err
	}
	name := m.At.UTC().Format(stampLayout)
	if err := os.Rename(making, filepath.Join(folder, name)); err != nil {
		return "", unwritable("cannot keep snapshot", err)
	}
	syncFolder(folder)
	return name, nil
}

// roomForCopy makes sure that copies never are what fills the disk.
func (p *Profile) spaceForBackup() error {
	var size, count uint64
	err := Walk(p.Dir(), func(rel string, _ bool) error {
		info, err := os.Lstat(filepath.Join(p.Dir(), filepath.FromSlash(rel)))
		if err == nil {
			size, count = size+uint64(max(info.Size(), 0)), count+1
		}
		return err
	})
	if err != nil {
		return unwritable("cannot measure profile", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(p.Dir(), &st); err != nil {
		return unwritable("cannot look at file system of "+p.Dir(), err)
	}
	return judgeSpace(p.Dir(), &st, size+2*minFreeBytes, count+2*minFreeInodes)
}

func writeManifest(path string, m Manifest) error {
	data, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return fmt.Errorf("cannot marshal manifest: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return unwritable("cannot write manifest", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return unwritable("cannot write manifest", err)
	}
	return nil
}

// ParseManifest reads a manifest; what is none, or of another format, is
// ErrDamaged.
func ParseManifest(data []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if m.Format != ManifestFormat {
		return Manifest{}, fmt.Errorf("%w: its format is %d, and this version knows %d", ErrDamaged, m.Format, ManifestFormat)
	}
	return m, nil
}

// Backups returns the snapshots whose manifest can be read, newest first. Their
// files are not looked at.
func (p *Profile) Backups() ([]Backup, error) {
	folder := p.path("backups")
	names, err := dated(folder)
	if err != nil {
		return nil, err
	}
	var found []Backup
	for _, name := range names {
		data, err := readBounded(filepath.Join(folder, name, manifestFile), maxManifest)
		if err != nil {
			continue
		}
		if m, err := ParseManifest(data); err == nil {
			found = append(found, Backup{name, m})
		}
	}
	return found, nil
}

// Path returns where the files of s lie.
func (p *Profile) Path(s Backup) string {
	return filepath.Join(p.path("backups"), s.Name, profileFolder)
}

// Fill makes a private folder beside the profile, lets fill put a whole profile into
// it, and replaces the present one by it, which goes to quarantine under the returned
// name. When fill fails, nothing has changed. Chrome must not run.
func (p *Profile) Fill(fill func(folder string) error, why string, now time.Time) (string, error) {
	making := p.path(partial + suffix())
	defer func() { _ = os.RemoveAll(making) }()
	if err := os.Mkdir(making, 0o700); err != nil {
		return "", unwritable("cannot make folder", err)
	}
	if err := fill(making); err != nil {
		return "", err
	}
	if err := syncAll(making); err != nil {
		return "", unwritable("cannot keep profile", err)
	}
	return p.replace(making, why, now)
}

// Restore replaces the profile by a snapshot, all or nothing: half a profile
// makes the page delete the other half. Everything is copied and checked first;
// a damaged snapshot is ErrDamaged, and then nothing has changed. The replaced
// profile goes to quarantine under the returned name. Chrome must not run.
func (p *Profile) Restore(ctx context.Context, s Backup, why string, now time.Time) (string, error) {
	return p.Fill(func(folder string) error {
		files, err := copyTree(ctx, p.Path(s), folder)
		if err != nil {
			return err
		}
		return Check(s.Files, files)
	}, why, now)
}

// replace makes the folder made, which lies beside the profile, the profile, and
// moves the present one to quarantine under the returned name. A death in the
// middle is finished, or undone, at the next Open. Chrome must not run.
func (p *Profile) replace(made, why string, now time.Time) (string, error) {
	incoming := p.path("incoming")
	if err := os.Rename(made, incoming); err != nil {
		return "", unwritable("cannot replace profile", err)
	}
	syncFolder(p.tokens)
	name, err := p.moveAside(why, now)
	if err != nil {
		return "", errors.Join(err, p.erase(incoming))
	}
	if err := os.Rename(incoming, p.Dir()); err != nil {
		return name, unwritable("cannot replace profile", err)
	}
	syncFolder(p.tokens)
	return name, nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	case !info.Mode().IsRegular() || info.Size() > limit:
		return nil, fmt.Errorf("cannot read %s: %w", path, fs.ErrInvalid)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return data, nil
}
