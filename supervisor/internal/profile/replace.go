package profile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"session-manager/shared/reason"
)

// The folders of a replacement by contents, in the profile: what is about to become its
// content, before and after the former content has gone.
const (
	incomingFolder = ".session-manager.incoming"
	arrivedFolder  = ".session-manager.arrived"
)

// Quarantine moves the profile to a folder named by f, and begins an empty one. It is
// Replace with nothing.
func (p *Profile) Quarantine(ctx context.Context, f Former) (name string, err error) {
	return p.Replace(ctx, func(string) error { return nil }, f)
}

// Restore replaces the profile with a backup, all or nothing: half a profile makes
// the page delete the other half. Everything is copied and checked first; if the
// backup is ErrDamaged, nothing has changed. Otherwise it is Replace.
func (p *Profile) Restore(ctx context.Context, b Backup, f Former) (string, error) {
	return p.Replace(ctx, func(folder string) error {
		files, err := copyTree(ctx, p.Backups.Path(b), folder)
		switch {
		case err == nil:
			return CheckFiles(b.Files, files)
		case ctx.Err() == nil && reason.Of(err, "") != reason.DiskFull:
			return fmt.Errorf("%w: it can't be read: %w", ErrDamaged, err)
		}
		return err
	}, f)
}

// Replace lets write put a whole profile into an empty folder, and makes that the
// profile. The present one goes to quarantine under the returned name, and others there
// are removed as expired says. Chrome must not run. With an error and no name nothing
// has changed; with an error and a name the next Open, Preflight or Adopt completes it.
//
// Where the profile's folder can't be moved, as it is a link, a mount point or in another
// file system, its content is copied to quarantine, without caches, and then replaced.
func (p *Profile) Replace(ctx context.Context, write func(folder string) error, f Former) (string, error) {
	folder, name := p.tokens.path("quarantine"), f.name()
	prepare := func(making string) error {
		if err := write(making); err != nil {
			return err
		}
		names, err := list(making)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(names, unfinished) {
			return fmt.Errorf("%w: it has what only a profile that is being replaced has", ErrDamaged)
		}
		// One without it counts as valuable.
		_ = JSONFile(filepath.Join(p.Dir(), formerFile)).Save(f)
		return makeFolder(folder)
	}
	begun, err := p.tokens.replace(ctx, prepare, filepath.Join(folder, name))
	if !begun {
		return "", err
	}
	p.tokens.expire(f.QuarantinedAt)
	return name, err
}

// Erase removes the profile, the quarantine and every backup, and begins an empty
// profile. Chrome must not run.
func (p *Profile) Erase(ctx context.Context) error {
	// First what may be many times as large: on a full disk the rest needs some room.
	failed := []error{eraseAll(p.tokens.path("quarantine")), eraseAll(p.tokens.path("backups"))}
	_, err := p.tokens.replace(ctx, func(string) error { return nil }, "")
	return errors.Join(append(failed, err)...)
}

// replace is Replace, with the path in quarantine of the former profile, which is removed
// if that is empty. begun means that it can't be undone.
func (t tokens) replace(ctx context.Context, write func(folder string) error, former string) (begun bool, err error) {
	if err := checkOnePlace(t.profile()); err != nil {
		return false, err
	}
	// In the profile, since the last step must be a rename within its file system.
	making := newPartial(t.profile())
	defer func() { _ = os.RemoveAll(making) }()
	if err := os.Mkdir(making, 0o700); err != nil {
		return false, unwritable("cannot make folder", err)
	}
	if err := write(making); err != nil {
		return false, err
	}
	if err := syncAll(making); err != nil {
		return false, unwritable("cannot keep profile", err)
	}
	if begun, err = t.replaceFolder(making, former); !begun && err == nil {
		begun, err = t.replaceContent(ctx, making, former)
	}
	return begun, err
}

// replaceFolder makes the folder making the profile. It has done nothing if it returns
// false: the profile's folder can't be moved. If the process dies after one of the renames,
// repair completes or undoes them.
func (t tokens) replaceFolder(making, former string) (begun bool, err error) {
	if former == "" {
		former = newPartial(string(t))
		defer func() { err = errors.Join(err, os.RemoveAll(former)) }()
	}
	incoming := t.path("incoming")
	if info, err := os.Lstat(t.profile()); err != nil || !info.IsDir() || os.Rename(making, incoming) != nil {
		return false, nil
	}
	syncFolder(string(t))
	if os.Rename(t.profile(), former) != nil {
		if err := os.Rename(incoming, making); err != nil {
			return false, unwritable("cannot replace profile", errors.Join(err, erase(incoming)))
		}
		return false, nil
	}
	syncFolder(filepath.Dir(former))
	syncFolder(string(t))
	if err := os.Rename(incoming, t.profile()); err != nil {
		return true, unwritable("cannot replace profile", err)
	}
	syncFolder(string(t))
	return true, nil
}

// replaceContent makes what is in the folder making the content of the profile.
func (t tokens) replaceContent(ctx context.Context, making, former string) (begun bool, err error) {
	if former != "" {
		if exists(former) {
			return false, unwritable("cannot move profile to "+former, fs.ErrExist)
		}
		// Until the rename below this is unfinished, and repair removes it; then settle
		// gives it its name.
		copied := filepath.Join(filepath.Dir(former), partial+filepath.Base(former))
		if err := copyAside(ctx, t.profile(), copied); err != nil {
			return false, errors.Join(err, os.RemoveAll(copied))
		}
	}
	if err := os.Rename(making, filepath.Join(t.profile(), incomingFolder)); err != nil {
		return false, unwritable("cannot replace profile", err)
	}
	syncFolder(t.profile())
	return true, t.settle()
}

func copyAside(ctx context.Context, from, to string) error {
	if err := checkSpaceForCopy(from, filepath.Dir(to)); err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return unwritable("cannot make folder", err)
	}
	_, err := copyTree(ctx, from, to)
	syncFolder(filepath.Dir(to))
	return err
}

// settle completes a replaceContent that has begun. Each of its steps can be repeated.
func (t tokens) settle() error {
	incoming, arrived := filepath.Join(t.profile(), incomingFolder), filepath.Join(t.profile(), arrivedFolder)
	if info, err := os.Lstat(incoming); err == nil && info.IsDir() {
		if err := errors.Join(t.publish(), removeContent(t.profile(), incomingFolder)); err != nil {
			return err
		}
		if err := os.Rename(incoming, arrived); err != nil {
			return unwritable("cannot complete replacement of profile", err)
		}
		syncFolder(t.profile())
	}
	info, err := os.Lstat(arrived)
	if err != nil || !info.IsDir() {
		return nil
	}
	names, err := list(arrived)
	for _, name := range names {
		err = errors.Join(err, os.Rename(filepath.Join(arrived, name), filepath.Join(t.profile(), name)))
	}
	if err == nil {
		syncFolder(t.profile())
		err = os.Remove(arrived)
	}
	if err != nil {
		return unwritable("cannot complete replacement of profile", err)
	}
	return nil
}

// publish gives the copy of a former profile its name in quarantine.
func (t tokens) publish() error {
	folder := t.path("quarantine")
	names, err := list(folder)
	for _, name := range names {
		if final, ok := strings.CutPrefix(name, partial); ok && isDated(final) {
			if err := os.Rename(filepath.Join(folder, name), filepath.Join(folder, final)); err != nil {
				return unwritable("cannot move profile to quarantine", err)
			}
		}
	}
	syncFolder(folder)
	return err
}

// removeContent removes what is in a folder, except for one name.
func removeContent(folder, except string) error {
	names, err := list(folder)
	for _, name := range names {
		if name != except && name != lostAndFound {
			err = errors.Join(err, os.RemoveAll(filepath.Join(folder, name)))
		}
	}
	if err != nil {
		return unwritable("cannot empty "+folder, err)
	}
	return nil
}

// checkOnePlace makes sure that no folder in a profile is a mount point, which would be
// moved with the profile, or a link, which is not followed.
func checkOnePlace(dir string) error {
	err := WalkFiles(dir, func(rel string, folder bool) error {
		if path := filepath.Join(dir, filepath.FromSlash(rel)); folder && isMountPoint(path) {
			return elsewhere(path, "a mount point")
		}
		return nil
	})
	if errors.Is(err, ErrElsewhere) {
		return err
	}
	return nil // What can't be read can still be moved.
}

// ErrElsewhere means that a part of the profile is not in its folder.
var ErrElsewhere = errors.New("only the profile's own folder may be a link or a mount point")

func elsewhere(path, what string) error {
	return unwritable("cannot use profile", fmt.Errorf("%s is %s; %w", path, what, ErrElsewhere))
}

// isMountPoint reports whether a file system is mounted at path, if the kernel (5.8) knows.
func isMountPoint(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
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

// eraseAll erases what is in a folder, and the folder, unless it is a link or a mount point.
func eraseAll(folder string) error {
	names, err := list(folder)
	for _, name := range names {
		err = errors.Join(err, erase(filepath.Join(folder, name)))
	}
	_ = unix.Rmdir(folder)
	return err
}

// repair completes or undoes what a process that died left unfinished.
func (t tokens) repair() error {
	incoming := t.path("incoming")
	if exists(incoming) {
		if _, err := os.Lstat(t.profile()); errors.Is(err, fs.ErrNotExist) {
			if err := os.Rename(incoming, t.profile()); err != nil {
				return unwritable("cannot complete restore", err)
			}
		} else if err := erase(incoming); err != nil {
			return err
		}
	}
	if err := t.settle(); err != nil {
		return err
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

// unfinishedFile is the form of the names of a JSONFile that is being saved, and of messages
// that are being exported or imported.
var unfinishedFile = regexp.MustCompile(`^\.(admin\.[a-z]+|\.session-manager(\.former)?)[0-9]+(-wal|-journal)?$`)

// unfinished reports whether a name is one that we give for what is being made.
func unfinished(name string) bool {
	return strings.HasPrefix(name, partial) || strings.HasPrefix(name, probePrefix) || unfinishedFile.MatchString(name) ||
		name == incomingFolder || name == arrivedFolder
}
