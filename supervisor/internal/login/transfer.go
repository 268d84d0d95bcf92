package login

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"session-manager/supervisor/internal/archive"
	"session-manager/supervisor/internal/profile"
)

var (
	// ErrNothing means that there is no login to export.
	ErrNothing = errors.New("there is no login to export")
	// ErrExists means that the file to export to is there already.
	ErrExists = errors.New("the file exists; it is not overwritten")
)

// whyImported is why a profile goes that an imported one replaces.
const whyImported = "import"

// Export says what to export.
type Export struct {
	Tokens, File, Passphrase string
	// Backup takes the newest copy, which may be done while a supervisor runs;
	// otherwise it is the profile itself.
	Backup bool
	// Work is archive.Work, but in tests.
	Work int
}

// Run writes an encrypted file with the login, for nobody else to read, whole or
// not at all. Errors match profile.ErrHeld when a supervisor runs on the profile
// itself, ErrNothing, and ErrExists.
func (e Export) Run(ctx context.Context) (profile.Manifest, error) {
	if _, err := os.Lstat(e.File); err == nil {
		return profile.Manifest{}, fmt.Errorf("cannot export to %s: %w", e.File, ErrExists)
	}
	if _, err := os.Stat(e.Tokens); err != nil {
		return profile.Manifest{}, fmt.Errorf("%w: %w", ErrNothing, err)
	}
	if e.Backup {
		return e.snapshot(ctx)
	}
	return e.profile(ctx)
}

func (e Export) snapshot(ctx context.Context) (profile.Manifest, error) {
	folder, err := profile.View(e.Tokens)
	if err != nil {
		return profile.Manifest{}, err
	}
	copies, err := folder.Backups.List()
	if err != nil {
		return profile.Manifest{}, err
	}
	if len(copies) == 0 {
		return profile.Manifest{}, fmt.Errorf("%w: no copy has been made yet", ErrNothing)
	}
	want := copies[0]
	return e.write(func(w io.Writer) (profile.Manifest, error) {
		m, err := archive.Write(ctx, w, e.Passphrase, e.Work, folder.Backups.Path(want), want.Manifest)
		if err != nil {
			return m, err
		}
		return m, profile.CheckFiles(want.Files, m.Files)
	})
}

func (e Export) profile(ctx context.Context) (profile.Manifest, error) {
	folder, err := profile.Open(e.Tokens)
	if err != nil {
		return profile.Manifest{}, err
	}
	defer func() { _ = folder.Close() }()
	if _, err := folder.ChromeLock.Clean(); err != nil {
		return profile.Manifest{}, err
	}
	if _, err := os.Stat(filepath.Join(folder.Dir(), "Default")); errors.Is(err, fs.ErrNotExist) {
		return profile.Manifest{}, fmt.Errorf("%w: the profile is empty", ErrNothing)
	}
	var known Memory
	if err := folder.Login.Load(&known); err != nil {
		return profile.Manifest{}, err
	}
	stamp, err := folder.Stamp()
	if err != nil {
		return profile.Manifest{}, err
	}
	known = known.of(stamp)
	return e.write(func(w io.Writer) (profile.Manifest, error) {
		return archive.Write(ctx, w, e.Passphrase, e.Work, folder.Dir(), profile.Manifest{
			CreatedAt: time.Now().UTC(), Stamp: stamp, LinkedAt: known.LinkedAt, PersistedAt: known.PersistedAt, ReadyAt: known.ReadyAt,
		})
	})
}

// write makes the file under another name first, so that nobody takes half of it
// for the whole.
func (e Export) write(write func(io.Writer) (profile.Manifest, error)) (m profile.Manifest, err error) {
	f, err := os.CreateTemp(filepath.Dir(e.File), ".export-*")
	if err != nil {
		return m, fmt.Errorf("cannot export: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	m, err = write(f)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return m, err
	}
	if err := os.Rename(f.Name(), e.File); err != nil {
		return m, fmt.Errorf("cannot export: %w", err)
	}
	return m, nil
}

// Import replaces the login in the tokens folder by that in the file. What it
// replaces goes to quarantine under the returned name. Errors match
// profile.ErrHeld while a supervisor runs, archive.ErrPassphrase and
// archive.ErrDamaged; then nothing has changed.
func Import(ctx context.Context, tokens, file, passphrase string) (m profile.Manifest, moved string, err error) {
	src, err := os.Open(file)
	if err != nil {
		return m, "", fmt.Errorf("cannot import: %w", err)
	}
	defer func() { _ = src.Close() }()
	folder, err := profile.Open(tokens)
	if err != nil {
		return m, "", err
	}
	defer func() { _ = folder.Close() }()
	if _, err := folder.ChromeLock.Clean(); err != nil {
		return m, "", err
	}
	now := time.Now()
	moved, err = folder.Replace(func(into string) error {
		m, err = archive.Read(ctx, src, passphrase, into)
		return err
	}, whyImported, now)
	if err != nil {
		return m, "", err
	}
	return m, moved, folder.Login.Save(Memory{
		Stamp: m.Stamp, LinkedAt: m.LinkedAt, PersistedAt: m.PersistedAt, ReadyAt: m.ReadyAt,
		Quarantined: moved, QuarantinedAt: now,
	})
}
