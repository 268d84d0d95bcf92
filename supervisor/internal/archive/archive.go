// Package archive carries a login from one machine to another: a closed profile,
// as a stream that is encrypted by a passphrase (age, with its scrypt recipient),
// compressed, and a tar inside. The manifest comes last, when all is known; a
// stream that is cut, changed or of another passphrase is none.
package archive

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"filippo.io/age"

	"session-manager/supervisor/internal/profile"
)

var (
	// ErrPassphrase means that the passphrase is not that of the file.
	ErrPassphrase = errors.New("the passphrase is not that of this file")
	// ErrDamaged means that a file is no archive of a login, or not whole.
	ErrDamaged = errors.New("the file is damaged, or no exported login")
)

// Names in the tar.
const (
	manifestName = "manifest.json"
	profilePath  = "profile/"
)

// Bounds of what is unpacked. Real profiles have some hundred files and up to a
// few GB.
const (
	maxFiles    = 200_000
	maxBytes    = 64 << 30
	maxManifest = 64 << 20
	maxTail     = 64 << 10
)

// Work is how costly the passphrase is made to guess: scrypt's log2(N). 18 takes
// a second, and 256 MB.
const Work = 18

// Write encrypts the closed profile in dir, described by m, for passphrase. It
// returns m with its Format and Files filled in.
func Write(ctx context.Context, w io.Writer, passphrase string, work int, dir string, m profile.Manifest) (profile.Manifest, error) {
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return m, fmt.Errorf("cannot use passphrase: %w", err)
	}
	recipient.SetWorkFactor(work)
	m.Files = nil
	sealed, err := age.Encrypt(w, recipient)
	if err != nil {
		return m, fmt.Errorf("cannot encrypt login: %w", err)
	}
	packed := gzip.NewWriter(sealed)
	t := tar.NewWriter(packed)
	if err := writeAll(ctx, t, dir, &m); err != nil {
		return m, fmt.Errorf("cannot export login: %w", err)
	}
	for _, c := range []io.Closer{t, packed, sealed} {
		if err := c.Close(); err != nil {
			return m, fmt.Errorf("cannot export login: %w", err)
		}
	}
	return m, nil
}

func writeAll(ctx context.Context, t *tar.Writer, dir string, m *profile.Manifest) error {
	err := profile.WalkFiles(dir, func(rel string, folder bool) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if folder {
			return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: profilePath + rel + "/", Mode: 0o700})
		}
		f, err := writeFile(t, dir, rel)
		m.Files = append(m.Files, f)
		return err
	})
	if err != nil {
		return err
	}
	m.Format = profile.ManifestFormat
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

func writeFile(t *tar.Writer, dir, rel string) (profile.File, error) {
	src, err := os.Open(filepath.Join(dir, filepath.FromSlash(rel)))
	if err != nil {
		return profile.File{}, err
	}
	defer func() { _ = src.Close() }()
	info, err := src.Stat()
	if err != nil {
		return profile.File{}, err
	}
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: profilePath + rel, Mode: 0o600, Size: info.Size()}); err != nil {
		return profile.File{}, err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(t, sum), src)
	return profile.File{Path: rel, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, err
}

// Read decrypts a login, unpacks it into the empty folder into, and checks it
// against its manifest. On an error, ErrPassphrase or ErrDamaged where they
// apply, what is in the folder is of no use.
func Read(ctx context.Context, r io.Reader, passphrase, into string) (profile.Manifest, error) {
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return profile.Manifest{}, fmt.Errorf("cannot use passphrase: %w", err)
	}
	opened, err := age.Decrypt(bufio.NewReader(r), identity)
	if err != nil {
		if _, wrong := errors.AsType[*age.NoIdentityMatchError](err); wrong {
			return profile.Manifest{}, ErrPassphrase
		}
		return profile.Manifest{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	packed, err := gzip.NewReader(opened)
	if err != nil {
		return profile.Manifest{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	u := unpacker{ctx: ctx, into: into, left: maxBytes}
	m, err := u.all(tar.NewReader(packed))
	if err != nil {
		return profile.Manifest{}, err
	}
	// What follows is the tar's end and part of what age vouches for.
	switch _, err := io.CopyN(io.Discard, packed, maxTail); {
	case err == nil:
		return profile.Manifest{}, fmt.Errorf("%w: too much follows the manifest", ErrDamaged)
	case !errors.Is(err, io.EOF):
		return profile.Manifest{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := profile.CheckFiles(m.Files, u.files); err != nil {
		return profile.Manifest{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return m, nil
}

// unpacker takes nothing from a tar but folders and plain files below into.
type unpacker struct {
	ctx   context.Context
	into  string
	left  int64
	files []profile.File
}

func (u *unpacker) all(t *tar.Reader) (profile.Manifest, error) {
	for {
		if err := u.ctx.Err(); err != nil {
			return profile.Manifest{}, err
		}
		h, err := t.Next()
		if err != nil {
			return profile.Manifest{}, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if h.Name == manifestName {
			return readManifest(t)
		}
		if err := u.one(h, t); err != nil {
			return profile.Manifest{}, err
		}
	}
}

func (u *unpacker) one(h *tar.Header, t io.Reader) error {
	rel := path.Clean(h.Name)
	inside, ok := cutPrefix(rel)
	if !ok || !filepath.IsLocal(inside) || len(u.files) >= maxFiles || h.Size > u.left {
		return fmt.Errorf("%w: it holds %.100q", ErrDamaged, h.Name)
	}
	target := filepath.Join(u.into, filepath.FromSlash(inside))
	switch h.Typeflag {
	case tar.TypeDir:
		if err := os.Mkdir(target, 0o700); err != nil {
			return fmt.Errorf("cannot unpack login: %w", err)
		}
		return nil
	case tar.TypeReg:
		f, err := unpackFile(target, t)
		f.Path = inside
		u.left -= f.Size
		u.files = append(u.files, f)
		return err
	}
	return fmt.Errorf("%w: %.100q is neither a file nor a folder", ErrDamaged, h.Name)
}

func cutPrefix(name string) (string, bool) {
	if len(name) <= len(profilePath) || name[:len(profilePath)] != profilePath {
		return "", false
	}
	return name[len(profilePath):], true
}

func unpackFile(target string, src io.Reader) (f profile.File, err error) {
	dst, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return f, fmt.Errorf("cannot unpack login: %w", err)
	}
	sum := sha256.New()
	to := &writer{w: io.MultiWriter(dst, sum)}
	f.Size, err = io.Copy(to, src)
	f.SHA256 = hex.EncodeToString(sum.Sum(nil))
	switch {
	case to.err != nil:
		err = fmt.Errorf("cannot unpack login: %w", to.err)
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if closeErr := dst.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("cannot unpack login: %w", closeErr)
	}
	return f, err
}

// writer remembers its error, so that a full disk can be told from a bad file.
type writer struct {
	w   io.Writer
	err error
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.err = err
	return n, err
}

func readManifest(t io.Reader) (profile.Manifest, error) {
	data, err := io.ReadAll(io.LimitReader(t, maxManifest))
	if err != nil {
		return profile.Manifest{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	m, err := profile.ParseManifest(data)
	if err != nil {
		return profile.Manifest{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return m, nil
}
