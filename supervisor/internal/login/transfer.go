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

	"github.com/google/renameio/v2"

	"session-manager/supervisor/internal/archive"
	"session-manager/supervisor/internal/inbox"
	"session-manager/supervisor/internal/media"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/smallfile"
	"session-manager/supervisor/internal/wait"
)

var (
	// ErrNothing means that there is no login to export.
	ErrNothing = errors.New("there is no login to export")
	// ErrExists means that the file to export to exists already.
	ErrExists = errors.New("the file exists; it is not overwritten")
)

// Export is what to export, and where to.
type Export struct {
	Tokens, File, Passphrase string
	// To is written to instead of the file, if it is set.
	To io.Writer
	// Backup exports the newest backup, even while a supervisor runs, instead of the
	// profile itself. Messages are not in it.
	Backup bool
	// Work is archive.Work, except in tests.
	Work int
}

// Run writes an encrypted file with the login, private to this user, whole or not at
// all. Errors match ErrNothing, ErrExists and, when the profile itself is exported
// while a supervisor runs, profile.ErrHeld.
func (e Export) Run(ctx context.Context) (profile.Manifest, error) {
	if _, err := os.Lstat(e.File); err == nil && e.To == nil {
		return profile.Manifest{}, fmt.Errorf("cannot export to %s: %w", e.File, ErrExists)
	}
	if _, err := os.Stat(e.Tokens); errors.Is(err, fs.ErrNotExist) {
		return profile.Manifest{}, fmt.Errorf("%w: %w", ErrNothing, err)
	} else if err != nil {
		return profile.Manifest{}, fmt.Errorf("cannot export: %w", err)
	}
	if e.Backup {
		return e.backup(ctx)
	}
	return e.profile(ctx)
}

func (e Export) backup(ctx context.Context) (profile.Manifest, error) {
	p, err := profile.View(e.Tokens)
	if err != nil {
		return profile.Manifest{}, err
	}
	found, err := p.Backups.List()
	if err != nil {
		return profile.Manifest{}, err
	}
	if len(found) == 0 {
		return profile.Manifest{}, fmt.Errorf("%w: there is no backup yet", ErrNothing)
	}
	return e.write(ctx, p.Backups.Path(found[0]), archive.Messages{}, found[0].Manifest)
}

func (e Export) profile(ctx context.Context) (profile.Manifest, error) {
	p, err := openClosed(e.Tokens)
	if err != nil {
		return profile.Manifest{}, err
	}
	defer func() { _ = p.Close() }()
	if _, err := p.Adopt(); err != nil {
		return profile.Manifest{}, err
	}
	if p.Home() == nil {
		return profile.Manifest{}, fmt.Errorf("%w: %s has no profile of a Chrome", ErrNothing, p.Dir())
	}
	var r Record
	if err := p.Login.Load(&r); err != nil {
		return profile.Manifest{}, err
	}
	stamp, err := p.Stamp()
	if err != nil {
		return profile.Manifest{}, err
	}
	if r.Stamp == stamp && !r.expected() {
		return profile.Manifest{}, fmt.Errorf("%w: no phone is linked in this profile, as far as the service has seen", ErrNothing)
	}
	r = r.forProfile(stamp)
	outboxFile, inboxFile, _ := profile.NewMailboxes(p)
	defer func() { _ = errors.Join(os.Remove(outboxFile), os.Remove(inboxFile)) }()
	messages := archive.Messages{Outbox: outboxFile, Inbox: inboxFile, Media: profile.Media(p)}
	if any, err := outbox.Export(p.Outbox(), outboxFile); err != nil {
		return profile.Manifest{}, err
	} else if !any {
		messages.Outbox = ""
	}
	if any, err := inbox.Export(profile.InboxPath(p), inboxFile); err != nil {
		return profile.Manifest{}, err
	} else if !any {
		messages.Inbox = ""
	}
	return e.write(ctx, p.Dir(), messages, profile.Manifest{
		CreatedAt: time.Now().UTC(), Stamp: stamp, LinkedAt: r.LinkedAt, PersistedAt: r.PersistedAt, ReadyAt: r.ReadyAt,
	})
}

// write exports the profile in dir, which m describes, with messages, if any. It makes the file under another
// name first, so that nobody mistakes half of it for the whole.
func (e Export) write(ctx context.Context, dir string, messages archive.Messages, m profile.Manifest) (profile.Manifest, error) {
	if e.To != nil {
		return e.writeTo(ctx, e.To, dir, messages, m)
	}
	f, err := renameio.NewPendingFile(e.File, renameio.WithTempDir(filepath.Dir(e.File)), renameio.WithPermissions(0o600))
	if err != nil {
		return m, fmt.Errorf("cannot export: %w", err)
	}
	defer func() { _ = f.Cleanup() }()
	written, err := e.writeTo(ctx, f, dir, messages, m)
	if err != nil {
		return written, err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return written, fmt.Errorf("cannot export: %w", err)
	}
	return written, nil
}

func (e Export) writeTo(ctx context.Context, w io.Writer, dir string, messages archive.Messages, m profile.Manifest) (profile.Manifest, error) {
	written, err := archive.Write(ctx, w, e.Passphrase, e.Work, dir, messages, m)
	if err == nil && e.Backup {
		err = profile.CheckFiles(m.Files, written.Files)
	}
	return written, err
}

// Import replaces the login in the tokens folder with the one in the file, which may be a
// pipe, and adds the messages in it to the outbox (outbox.Import). The messages that it had received, if any, replace those received here. The replaced profile goes to quarantine under the returned name. Errors match
// archive.ErrPassphrase, archive.ErrDamaged, archive.ErrUnreadable and, while a supervisor
// runs, profile.ErrHeld; then, and when ctx has ended, nothing has changed.
func Import(ctx context.Context, tokens, file, passphrase string) (m profile.Manifest, moved string, n outbox.Imported, err error) {
	src, err := openSource(ctx, file)
	if err != nil {
		return m, "", n, fmt.Errorf("cannot import: %w", err)
	}
	defer func() { _ = src.file.Close() }()
	_, missing := os.Lstat(tokens)
	p, err := openClosed(tokens)
	if err != nil {
		return m, "", n, err
	}
	defer func() {
		if err != nil && errors.Is(missing, fs.ErrNotExist) {
			_ = p.Discard()
		} else {
			_ = p.Close()
		}
	}()
	var before Record
	_ = p.Login.Load(&before) // without it the replaced profile counts as valuable
	now := time.Now()
	var messages archive.Messages
	messages.Outbox, messages.Inbox, messages.Media = profile.NewMailboxes(p)
	defer func() {
		_ = errors.Join(os.Remove(messages.Outbox), os.Remove(messages.Inbox), os.RemoveAll(messages.Media))
	}()
	moved, err = p.Replace(ctx, func(folder string) error {
		m, err = archive.Read(ctx, src, passphrase, folder, messages)
		return err
	}, before.former(whyImported, now))
	if moved == "" {
		return m, "", n, err
	}
	after := Record{Quarantined: moved, QuarantinedAt: now}
	if !m.LinkedAt.IsZero() { // otherwise nothing is known about the login
		after.Stamp, after.LinkedAt, after.PersistedAt, after.ReadyAt = m.Stamp, m.LinkedAt, m.PersistedAt, m.ReadyAt
	}
	if m.Outbox == nil {
		messages.Outbox = ""
	}
	if m.Inbox != nil {
		err = errors.Join(err, inbox.Import(messages.Inbox, profile.InboxPath(p)))
	}
	// The files come first: those without a message are removed at the next start.
	err = errors.Join(err, p.Login.Save(after), media.Import(messages.Media, profile.Media(p)))
	n, importErr := outbox.Import(messages.Outbox, p.Outbox())
	return m, moved, n, errors.Join(err, importErr)
}

// source is a file to import from. Unlike the file it returns when its context ends: a
// pipe may wait for its writer, and a file for its server.
type source struct {
	ctx  context.Context
	file *os.File
}

func openSource(ctx context.Context, path string) (*source, error) {
	f, err := wait.For(ctx, func() (*os.File, error) { return smallfile.OpenInherited(path) })
	return &source{ctx, f}, unreadable(ctx, err)
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	read, err := wait.For(s.ctx, func() ([]byte, error) {
		b := make([]byte, len(p)) // p is its owner's again once ctx has ended
		n, err := s.file.Read(b)
		return b[:n], err
	})
	return copy(p, read), unreadable(s.ctx, err)
}

// unreadable adds archive.ErrUnreadable to an error of reading.
func unreadable(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, io.EOF) || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w: %w", archive.ErrUnreadable, err)
}

// openClosed opens a profile that neither a supervisor nor a Chrome uses.
func openClosed(tokens string) (*profile.Profile, error) {
	p, err := profile.Open(tokens)
	if err != nil {
		return nil, err
	}
	if _, err := p.ChromeLock.Clean(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}
