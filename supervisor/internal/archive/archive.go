// Package archive carries a login from one machine to another, as a closed profile in
// a tar, compressed, and encrypted with a passphrase (age, scrypt). The manifest comes
// last, when everything is known. A stream that was cut or changed, or that has another
// passphrase, is refused.
package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"filippo.io/age"

	"session-manager/supervisor/internal/media"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/wait"
)

var (
	// ErrPassphrase means that the file was encrypted with another passphrase.
	ErrPassphrase = errors.New("wrong passphrase for this file")
	// ErrDamaged means that a file is not an exported login, or not a whole one.
	ErrDamaged = errors.New("the file is damaged or is not an exported login")
	// ErrUnreadable is for readers that are handed to Read: the file can't be read.
	ErrUnreadable = errors.New("the file can't be read")
)

// Names in the tar.
const (
	manifestName = "manifest.json"
	profilePath  = "profile/"
	outboxName   = "outbox"
	inboxName    = "inbox"
	mediaPath    = "media/"
)

// Limits of what is unpacked. Real profiles have some hundred files and folders and up to
// a few GB.
const (
	maxEntries  = 200_000
	maxBytes    = 64 << 30
	maxManifest = 64 << 20
	maxTail     = 64 << 10
)

// Work is what guessing the passphrase costs: scrypt's log2(N). 18 takes a second and
// 256 MB. Read accepts no file that claims more: what a file claims is computed before
// anything in it can be verified, and each step up doubles time and memory.
const Work = 18

// Messages are the paths of the databases of messages that were accepted and of those that were
// received, each empty for none, and of the folder of files of the former, which need not exist.
type Messages struct{ Outbox, Inbox, Media string }

// Write encrypts the closed profile in dir, described by m, and messages for passphrase. It returns
// m with its Format, Files, Outbox, Inbox and Media filled in. Without a login it fails with
// profile.ErrNoLogin. When ctx ends it returns at once; w may be written to for a moment longer.
func Write(ctx context.Context, w io.Writer, passphrase string, work int, dir string, messages Messages, m profile.Manifest) (profile.Manifest, error) {
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return m, fmt.Errorf("cannot use passphrase: %w", err)
	}
	recipient.SetWorkFactor(work)
	m.Format, m.Files, m.Outbox, m.Inbox, m.Media = profile.ManifestFormat, nil, nil, nil, nil
	// scrypt can't be interrupted.
	encrypted, err := wait.For(ctx, func() (io.WriteCloser, error) { return age.Encrypt(w, recipient) })
	if err != nil {
		return m, fmt.Errorf("cannot encrypt login: %w", err)
	}
	packed := gzip.NewWriter(encrypted)
	t := tar.NewWriter(packed)
	err = writeAll(ctx, t, dir, messages, &m)
	for _, c := range []io.Closer{t, packed, encrypted} {
		if err == nil {
			err = c.Close()
		}
	}
	if err != nil {
		return m, fmt.Errorf("cannot export login: %w", err)
	}
	return m, nil
}

func writeAll(ctx context.Context, t *tar.Writer, dir string, messages Messages, m *profile.Manifest) error {
	err := profile.WalkFiles(dir, func(rel string, folder bool) error {
		if folder {
			return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: profilePath + rel + "/", Mode: 0o700})
		}
		f, err := writeFile(ctx, t, dir, rel, profilePath+rel)
		m.Files = append(m.Files, f)
		return err
	})
	if err == nil && messages.Outbox != "" {
		if m.Outbox, err = writeDatabase(ctx, t, messages.Outbox, outboxName); err == nil {
			err = writeMedia(ctx, t, messages.Media, m)
		}
	}
	if err == nil && messages.Inbox != "" {
		m.Inbox, err = writeDatabase(ctx, t, messages.Inbox, inboxName)
	}
	if err == nil {
		err = profile.CheckLogin(m.Files)
	}
	if err != nil {
		return err
	}
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: manifestName, Mode: 0o600, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err = t.Write(data)
	return err
}

// writeDatabase packs the file at path under name.
func writeDatabase(ctx context.Context, t *tar.Writer, path, name string) (*profile.File, error) {
	f, err := writeFile(ctx, t, filepath.Dir(path), filepath.Base(path), name)
	f.Path = name
	return &f, err
}

// writeMedia packs each file of messages that has its name.
func writeMedia(ctx context.Context, t *tar.Writer, dir string, m *profile.Manifest) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !media.Valid(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		f, err := writeFile(ctx, t, dir, e.Name(), mediaPath+e.Name())
		if err != nil {
			return err
		}
		m.Media = append(m.Media, f)
	}
	return nil
}

// writeFile packs the file rel in dir under name.
func writeFile(ctx context.Context, t *tar.Writer, dir, rel, name string) (profile.File, error) {
	src, err := profile.OpenFile(dir, rel)
	if err != nil {
		return profile.File{}, err
	}
	defer func() { _ = src.Close() }()
	info, err := src.Stat()
	if err != nil {
		return profile.File{}, err
	}
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: info.Size()}); err != nil {
		return profile.File{}, err
	}
	return profile.CopyFile(ctx, rel, t, src)
}

// Read decrypts a login, unpacks it into the empty folder, and checks it against its
// manifest. Messages are unpacked to the new files and the new folder that messages names; the
// manifest's Outbox and Inbox are nil if there are none. After an error, which matches ErrPassphrase, ErrDamaged or ErrUnreadable where
// they apply, the content of the folder is of no use. When ctx ends it returns at once; r
// may be read from for a moment longer.
func Read(ctx context.Context, r io.Reader, passphrase, folder string, messages Messages) (profile.Manifest, error) {
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return profile.Manifest{}, fmt.Errorf("cannot use passphrase: %w", err)
	}
	identity.SetMaxWorkFactor(Work)
	u := unpacker{ctx: ctx, folder: folder, to: messages, left: maxBytes}
	m, err := u.unpack(r, identity)
	if err == nil {
		return m, nil
	}
	_, wrongPassphrase := errors.AsType[*age.NoIdentityMatchError](err)
	switch {
	case wrongPassphrase:
		return profile.Manifest{}, ErrPassphrase
	case ctx.Err() != nil, errors.Is(err, ErrUnreadable), isLocal(err):
		return profile.Manifest{}, fmt.Errorf("cannot unpack login: %w", err)
	}
	return profile.Manifest{}, fmt.Errorf("%w: %w", ErrDamaged, err)
}

// isLocal reports whether err is the fault of this machine's file system, and not of
// names that an archive has twice, before their folders, or in a form that no file system
// takes.
func isLocal(err error) bool {
	if _, ok := errors.AsType[*fs.PathError](err); !ok {
		return false
	}
	return !slices.ContainsFunc([]error{
		fs.ErrExist, fs.ErrNotExist, syscall.ENOTDIR, syscall.EISDIR, syscall.ENAMETOOLONG, syscall.EINVAL,
	}, func(theirs error) bool { return errors.Is(err, theirs) })
}

// unpacker takes nothing from a tar but folders and plain files.
type unpacker struct {
	ctx    context.Context
	folder string
	to     Messages
	// left is how many bytes more may be unpacked, and entries how many files and folders
	// there were.
	left    int64
	entries int
	files   []profile.File
	// outbox and inbox describe the databases of messages, as far as there are any, and media
	// the files of messages.
	outbox, inbox *profile.File
	media         []profile.File
}

func (u *unpacker) unpack(r io.Reader, identity age.Identity) (profile.Manifest, error) {
	// scrypt can't be interrupted.
	opened, err := wait.For(u.ctx, func() (io.Reader, error) { return decrypt(bufio.NewReader(r), identity) })
	if err != nil {
		return profile.Manifest{}, err
	}
	packed, err := gzip.NewReader(opened)
	if err != nil {
		return profile.Manifest{}, err
	}
	entries := tar.NewReader(packed)
	m, err := u.all(entries)
	if err != nil {
		return profile.Manifest{}, err
	}
	if _, err := entries.Next(); err == nil {
		return profile.Manifest{}, errors.New("more follows the manifest")
	} else if !errors.Is(err, io.EOF) {
		return profile.Manifest{}, err
	}
	// age vouches for everything only at its end.
	rest, err := io.ReadAll(io.LimitReader(packed, maxTail))
	if err != nil {
		return profile.Manifest{}, err
	}
	if len(rest) == maxTail || bytes.ContainsFunc(rest, func(r rune) bool { return r != 0 }) {
		return profile.Manifest{}, errors.New("more follows the manifest")
	}
	if !same(m.Outbox, u.outbox) || !same(m.Inbox, u.inbox) {
		return m, fmt.Errorf("%w: the messages have changed", profile.ErrDamaged)
	}
	if err := profile.CheckSame(m.Media, u.media); err != nil {
		return m, err
	}
	return m, profile.CheckFiles(m.Files, u.files)
}

// same reports whether both describe the same file, or none.
func same(a, b *profile.File) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// intro is the first line of a file that age has encrypted.
const intro = "age-encryption.org/v1\n"

// decrypt is age.Decrypt, whose error would repeat the first line of any other file, such
// as one with keys.
func decrypt(r *bufio.Reader, identity age.Identity) (io.Reader, error) {
	start, err := r.Peek(len(intro))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if string(start) != intro {
		return nil, errors.New("it does not begin like one")
	}
	return age.Decrypt(r, identity)
}

// all unpacks everything up to the manifest.
func (u *unpacker) all(t *tar.Reader) (profile.Manifest, error) {
	for {
		if err := u.ctx.Err(); err != nil {
			return profile.Manifest{}, err
		}
		h, err := t.Next()
		if err != nil {
			return profile.Manifest{}, err
		}
		if h.Name != manifestName {
			if err := u.one(h, t); err != nil {
				return profile.Manifest{}, err
			}
			continue
		}
		data, err := io.ReadAll(io.LimitReader(t, maxManifest))
		if err != nil {
			return profile.Manifest{}, err
		}
		return profile.ParseManifest(data)
	}
}

func (u *unpacker) one(h *tar.Header, t io.Reader) error {
	if u.entries++; u.entries > maxEntries || h.Size > u.left {
		return errors.New("it contains too much")
	}
	target, rel, keep, ok := u.place(path.Clean(h.Name))
	switch {
	case !ok:
		return fmt.Errorf("it contains %.100q", h.Name)
	case h.Typeflag == tar.TypeDir && strings.HasPrefix(path.Clean(h.Name), profilePath):
		return os.Mkdir(target, 0o700)
	case h.Typeflag != tar.TypeReg:
		return fmt.Errorf("%.100q is neither a file nor a folder", h.Name)
	}
	dst, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	f, err := profile.CopyFile(u.ctx, rel, dst, t)
	u.left -= f.Size
	keep(f)
	return errors.Join(err, dst.Close())
}

// place returns where a file or folder goes, its path in the manifest, and what takes note of it.
func (u *unpacker) place(name string) (target, rel string, keep func(profile.File), ok bool) {
	if rel, ok := strings.CutPrefix(name, profilePath); ok {
		keep := func(f profile.File) { u.files = append(u.files, f) }
		return filepath.Join(u.folder, filepath.FromSlash(rel)), rel, keep, filepath.IsLocal(rel)
	}
	if rel, ok := strings.CutPrefix(name, mediaPath); ok && media.Valid(rel) {
		keep := func(f profile.File) { u.media = append(u.media, f) }
		err := os.MkdirAll(u.to.Media, 0o700)
		return filepath.Join(u.to.Media, rel), rel, keep, err == nil
	}
	if name == inboxName {
		return u.to.Inbox, inboxName, func(f profile.File) { u.inbox = &f }, true
	}
	return u.to.Outbox, outboxName, func(f profile.File) { u.outbox = &f }, name == outboxName
}
