// Package profile owns the tokens folder: Chrome's profile, which holds the login,
// and what is kept next to it. It lets one supervisor use the folder at a time,
// finds out before a start what would make Chrome fail or silently use another
// profile, and removes Chrome's own lock once it is proven stale.
//
// In the tokens folder:
//
//	admin                           Chrome's user-data-dir, mode 0700; it may be a link to a folder
//	                                or a mount point
//	admin.lock                      flock'ed by the supervisor, with its pid
//	admin.lease                     flock'ed by the worker and its Chrome (package lease)
//	admin.launch                    the lock of the Chrome that was started last
//	admin.restarts                  the state of the restart policy
//	admin.login                     what is known about the login
//	admin.outbox*                   the messages to be sent (package outbox)
//	admin.media                     their files (package media)
//	admin.inbox*                    received messages (package inbox)
//	admin.received                  files of those that were asked for
//	admin.webhook*                  what the webhook's receiver is still to be told (package webhook)
//	admin.quarantine/<time>-<why>   former profiles (see Quarantine)
//	admin.backups/<time>            backups of the closed profile, 3 (see Backups.Thin)
//	admin.incoming                  a profile that is about to replace admin
//	partial-<number>                a folder that is being made or removed
package profile

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/google/renameio/v2"

	"session-manager/shared/reason"
	"session-manager/shared/strictjson"
	"session-manager/supervisor/internal/smallfile"
)

// session is the name of the only session.
const session = "admin"

// tokens is the path of a tokens folder. Its methods name what is in it.
type tokens string

func (t tokens) profile() string { return filepath.Join(string(t), session) }

func (t tokens) path(extension string) string { return t.profile() + "." + extension }

// Profile is a tokens folder that this process may use. Its methods are for one
// goroutine, but for Close, Dir and LeaseFile.
type Profile struct {
	Backups    Backups
	ChromeLock ChromeLock
	// Login keeps what is known about the login, Restarts the state of the restart policy.
	Login, Restarts JSONFile

	tokens tokens
	owner  *owner
}

// Open makes the missing folders and takes the lock, which is kept until Close or
// the end of this process. An error matches ErrHeld or carries
// reason.ProfileUnwritable or reason.DiskFull.
func Open(folder string) (*Profile, error) {
	p, err := View(folder)
	if err != nil {
		return nil, err
	}
	if err := makeFolder(string(p.tokens)); err != nil {
		return nil, err
	}
	if err := p.owner.take(); err != nil {
		return nil, err
	}
	if err := p.tokens.prepare(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// View returns the tokens folder without taking its lock; another process may use
// it. Only Dir, Backups.List, Backups.Path and Login.Load may be used.
func View(folder string) (*Profile, error) {
	abs, err := filepath.Abs(folder)
	if err != nil {
		return nil, fmt.Errorf("cannot make tokens folder absolute: %w", err)
	}
	t := tokens(abs)
	return &Profile{
		Backups: Backups{t}, ChromeLock: ChromeLock{t},
		Login: JSONFile(t.path("login")), Restarts: JSONFile(t.path("restarts")),
		tokens: t, owner: &owner{path: t.path("lock")},
	}, nil
}

// Close gives up the lock.
func (p *Profile) Close() error { return p.owner.release() }

// Discard removes what Open and ChromeLock.Clean make in a folder that did not exist, unless
// something was put there, and gives up the lock.
func (p *Profile) Discard() error {
	_ = os.Remove(p.Dir())
	_ = os.Remove(p.LeaseFile())
	_ = os.Remove(p.owner.path) // as long as it is locked nobody else can use it
	err := p.Close()
	_ = os.Remove(string(p.tokens))
	return err
}

// Dir returns the absolute path of Chrome's user-data-dir.
func (p *Profile) Dir() string { return p.tokens.profile() }

// Outbox returns the absolute path of the database of messages, which only package outbox
// opens.
func (p *Profile) Outbox() string { return p.tokens.path("outbox") }

// Media returns the absolute path of the folder with the files of messages. It is next to the
// profile, so that a Chrome that is confined to some folders can read them, too.
func Media(p *Profile) string { return p.tokens.path("media") }

// ReceivedMedia returns the absolute path of the folder with the files of received messages.
func ReceivedMedia(p *Profile) string { return p.tokens.path("received") }

// WebhookQueue returns the absolute path of the webhook's queue, which only package webhook
// opens.
func WebhookQueue(p *Profile) string { return p.tokens.path("webhook") }

// InboxPath returns the absolute path of the database of received messages, which only
// package inbox opens.
func InboxPath(p *Profile) string { return p.tokens.path("inbox") }

// NewMailboxes returns the paths of new files for messages on their way to or from the outbox
// and the inbox of p, and of a new folder for the files of the former. If the process dies before
// it removes them, the next Open does.
func NewMailboxes(p *Profile) (outbox, inbox, media string) {
	hidden := func(path string) string {
		return filepath.Join(string(p.tokens), "."+filepath.Base(path)+suffix())
	}
	return hidden(p.Outbox()), hidden(InboxPath(p)), hidden(Media(p))
}

// LeaseFile returns the absolute path of the lease.
func (p *Profile) LeaseFile() string { return p.tokens.path("lease") }

// Home returns the folder that Chrome makes in the profile at its first start and
// never moves, or nil. With os.SameFile it shows whether the profile of a running
// Chrome was removed, emptied or replaced, even by a copy with the same Stamp. It costs
// one call of stat.
func (p *Profile) Home() os.FileInfo {
	info, err := os.Stat(filepath.Join(p.Dir(), chosen))
	if err != nil {
		return nil
	}
	return info
}

// stampFile is in the profile and is copied and moved with it. Chrome ignores files
// that it does not know.
const stampFile = ".session-manager"

// Stamp returns the random name that identifies the profile, also in its backups
// and exports. A profile without one is new, or was put there by somebody else, and
// gets one now.
func (p *Profile) Stamp() (stamp string, err error) {
	file := JSONFile(filepath.Join(p.Dir(), stampFile))
	if err := file.Load(&stamp); errors.Is(err, smallfile.ErrSlow) {
		return "", err
	} else if err != nil {
		// It is not a stamp.
		if err := os.RemoveAll(string(file)); err != nil {
			return "", unwritable("cannot stamp profile", err)
		}
	}
	if stamp == "" {
		stamp = rand.Text()
		err = file.Save(stamp)
	}
	return stamp, err
}

// TempDir makes a private folder next to the profile, with room for a copy
// of the profile, and returns a function that removes it. If the process dies first,
// the next Open removes it. The error carries reason.DiskFull when a copy would leave
// too little room for Chrome.
func (p *Profile) TempDir() (path string, remove func() error, err error) {
	if err := checkSpaceForCopy(p.Dir(), string(p.tokens)); err != nil {
		return "", nil, err
	}
	path = newPartial(string(p.tokens))
	if err := os.Mkdir(path, 0o700); err != nil {
		return "", nil, unwritable("cannot make folder", err)
	}
	return path, func() error { return os.RemoveAll(path) }, nil
}

// prepare makes the profile's folder if it is missing, after repair.
func (t tokens) prepare() error {
	if err := t.checkAbove(); err != nil {
		return err
	}
	if err := t.repair(); err != nil {
		return err
	}
	return makeFolder(t.profile())
}

// checkAbove makes sure that the profile is not a folder that holds the tokens folder: what
// else is in it would be moved and erased with the profile.
func (t tokens) checkAbove() error {
	if !exists(t.profile()) {
		return nil
	}
	profile, err := follow(t.profile())
	folder, folderErr := follow(string(t))
	if err := errors.Join(err, folderErr); err != nil {
		return err
	}
	if rel, err := filepath.Rel(profile, folder); err == nil && filepath.IsLocal(rel) {
		return unwritable("cannot use profile", fmt.Errorf("%s is a link to %s, which holds the tokens folder itself", t.profile(), profile))
	}
	return nil
}

// makeFolder makes the folder at path, and those above it, with mode 0700. An
// existing folder keeps its mode, except that nobody else may read a profile.
func makeFolder(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return unwritable("cannot make folder", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return unwritable("cannot check folder", err)
	}
	if filepath.Base(path) == session && info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, 0o700); err != nil {
			return unwritable("cannot make folder private", err)
		}
	}
	return nil
}

// unwritable wraps err with the reason disk_full or profile_unwritable: they need
// different remedies.
func unwritable(what string, err error) error {
	code := reason.ProfileUnwritable
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		code = reason.DiskFull
	}
	return reason.Wrap(code, fmt.Errorf("%s: %w", what, err))
}

func suffix() string { return strconv.FormatInt(time.Now().UnixNano(), 10) }

// JSONFile is the path of a small file with one value.
type JSONFile string

// Save writes value as a whole or not at all.
func (f JSONFile) Save(value any) error {
	name := filepath.Base(string(f))
	data, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		return fmt.Errorf("cannot marshal %s: %w", name, err)
	}
	if err := renameio.WriteFile(string(f), data, 0o600, renameio.WithTempDir(filepath.Dir(string(f)))); err != nil {
		return unwritable("cannot save "+name, err)
	}
	return nil
}

// Load reads what was saved into value, a pointer. It changes nothing when the file
// does not exist. An error matches smallfile.ErrSlow when nobody knows what is in it.
func (f JSONFile) Load(value any) error {
	data, err := f.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := strictjson.Unmarshal(data, value); err != nil {
		return fmt.Errorf("cannot parse %s: %w", filepath.Base(string(f)), err)
	}
	return nil
}

// maxJSON bounds such a file, in bytes. The manifest of a large profile has 100 kB.
const maxJSON = 16 << 20

// read returns the content. An imported profile or a person may have put anything
// there.
func (f JSONFile) read() ([]byte, error) {
	data, err := smallfile.ReadSoon(context.Background(), string(f), maxJSON)
	if errors.Is(err, smallfile.ErrSlow) {
		return nil, unwritable("cannot read "+filepath.Base(string(f)), err)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", filepath.Base(string(f)), err)
	}
	return data, nil
}
