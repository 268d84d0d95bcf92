package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Place is where the profile of a tokens folder is.
type Place struct {
	// Path is the profile's, in the tokens folder.
	Path string
	// Target is where it is if Path is a link.
	Target string
	// Mounted: it is a mount point. Apart: it is on another file system than the tokens
	// folder.
	Mounted, Apart bool
	// Overlay: it is in an overlay, such as a container's own layer, and TokensOverlay: the
	// tokens folder is.
	Overlay, TokensOverlay bool
}

// Locate finds the profile, without changing anything. The error matches fs.ErrNotExist
// without a profile, and ErrElsewhere if a part of it is not in its folder. Any other carries
// reason.ProfileUnwritable, as when a link leads nowhere.
func Locate(folder string) (Place, error) {
	abs, err := filepath.Abs(folder)
	if err != nil {
		return Place{}, fmt.Errorf("cannot make tokens folder absolute: %w", err)
	}
	p := Place{Path: tokens(abs).profile()}
	info, err := os.Lstat(p.Path)
	if err != nil {
		return p, fmt.Errorf("cannot find profile: %w", err)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		if p.Target, err = follow(p.Path); err != nil {
			return p, err
		}
	}
	var here, above unix.Stat_t
	if unix.Stat(p.Path, &here) == nil && unix.Stat(abs, &above) == nil {
		p.Apart = here.Dev != above.Dev
	}
	p.Mounted = isMountPoint(p.Path)
	p.Overlay, p.TokensOverlay = inOverlay(p.Path), inOverlay(abs)
	return p, checkOnePlace(p.Path)
}

// follow returns the path that is behind a link, or the path itself.
func follow(path string) (string, error) {
	target, err := filepath.EvalSymlinks(path)
	link, linkErr := os.Readlink(path)
	switch {
	case err == nil:
		return target, nil
	case errors.Is(err, fs.ErrNotExist) && linkErr == nil:
		err = fmt.Errorf("%s is a link to %s, which does not exist", path, link)
	}
	return "", unwritable("cannot use profile", err)
}

func inOverlay(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && int64(st.Type) == unix.OVERLAYFS_SUPER_MAGIC //nolint:unconvert // its size depends on the architecture
}
