package profile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// File is one file in a backup.
type File struct {
	// Path is relative to the profile, with slashes.
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

var (
	// ErrDamaged means that a backup differs from its manifest.
	ErrDamaged = errors.New("the backup of the profile is damaged")
	// ErrNoLogin means that a profile can't hold a login.
	ErrNoLogin = errors.New("there is no login in the profile")
)

// WalkFiles calls visit for each file and folder of a closed profile that belongs in
// a backup, folders first. Caches, Chrome's lock and sockets, what is being made in it, and
// everything that is not a regular file are left out. Paths are relative, with slashes.
// The profile's folder may be a link. A link to a folder in it is an error: what is behind
// it would be missing.
func WalkFiles(dir string, visit func(path string, folder bool) error) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("cannot find profile: %w", err)
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("cannot walk profile: %w", err)
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return fmt.Errorf("cannot walk profile: %w", err)
		}
		rel = filepath.ToSlash(rel)
		switch {
		case rel == ".":
			return nil
		case d.IsDir() && (isCache(rel) || unfinished(rel)):
			return fs.SkipDir
		case strings.HasPrefix(rel, "Singleton"), isCache(rel), unfinished(rel):
			return nil
		case d.Type() == fs.ModeSymlink:
			return checkLink(path)
		case !d.IsDir() && !d.Type().IsRegular():
			return nil
		}
		return visit(rel, d.IsDir())
	})
}

// checkLink makes sure that a link does not stand for a folder.
func checkLink(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return elsewhere(path, "a link")
	}
	return nil
}

// CheckLogin makes sure that the files of a profile can hold a login, and else returns
// ErrNoLogin: the page keeps one in its localStorage.
func CheckLogin(files []File) error {
	if !slices.ContainsFunc(files, func(f File) bool { return strings.HasPrefix(f.Path, chosen+"/Local Storage/leveldb/") }) {
		return ErrNoLogin
	}
	return nil
}

// copyTree copies a closed profile into the empty folder to, private to this
// user, and returns what it copied. Where the file system supports it, the copies
// share their blocks with the originals.
func copyTree(ctx context.Context, from, to string) ([]File, error) {
	var files []File
	err := WalkFiles(from, func(rel string, folder bool) error {
		if folder {
			return os.Mkdir(filepath.Join(to, filepath.FromSlash(rel)), 0o700)
		}
		f, err := copyOne(ctx, rel, from, to)
		files = append(files, f)
		return err
	})
	if err == nil {
		err = syncAll(to)
	}
	if err != nil {
		return nil, unwritable("cannot copy profile", err)
	}
	return files, nil
}

// copyOne copies the file rel from one folder to another.
func copyOne(ctx context.Context, rel, from, to string) (f File, err error) {
	src, err := OpenFile(from, rel)
	if err != nil {
		return File{}, err
	}
	defer func() { _ = src.Close() }()
	dst, err := os.OpenFile(filepath.Join(to, filepath.FromSlash(rel)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return File{}, err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
		return CopyFile(ctx, rel, io.Discard, dst)
	}
	return CopyFile(ctx, rel, dst, src)
}

// OpenFile opens the file of a profile that WalkFiles has visited. Another program may
// have replaced it meanwhile: a pipe does not block, and a link is not followed.
func OpenFile(dir, rel string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, filepath.FromSlash(rel)), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
}

// CopyFile copies the content of the file called path until ctx ends, and describes
// it.
func CopyFile(ctx context.Context, path string, dst io.Writer, src io.Reader) (File, error) {
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(dst, sum), &reader{ctx, src})
	return File{Path: path, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, err
}

// CheckFiles compares the files of a backup with its manifest. A missing, changed or
// additional file is ErrDamaged, and so is a backup without a login.
func CheckFiles(want, got []File) error {
	if err := CheckSame(want, got); err != nil {
		return err
	}
	if err := CheckLogin(want); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

// CheckSame compares files with a manifest. A missing, changed or additional file is ErrDamaged.
func CheckSame(want, got []File) error {
	known := make(map[string]File, len(want))
	for _, f := range want {
		if _, twice := known[f.Path]; twice {
			return fmt.Errorf("%w: %s is in its manifest twice", ErrDamaged, f.Path)
		}
		known[f.Path] = f
	}
	for _, f := range got {
		if known[f.Path] != f {
			return fmt.Errorf("%w: %s has changed", ErrDamaged, f.Path)
		}
		delete(known, f.Path)
	}
	for path := range known {
		return fmt.Errorf("%w: %s is missing", ErrDamaged, path)
	}
	return nil
}

// syncAll flushes the file system of folder to the disk: one call for hundreds of
// small files.
func syncAll(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("cannot sync %s: %w", folder, err)
	}
	return nil
}

// reader fails once its context is done.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
