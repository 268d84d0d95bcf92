package worker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"session-manager/shared/reason"
)

// maxRuntimeDir bounds the runtime folder's path, in bytes: a socket's path has
// at most 107, of which go-plugin's names take 40, and Chrome aborts when that of
// its own socket in TMPDIR gets too long.
const maxRuntimeDir = 48

// generationName is the form of the folders that are made in the runtime folder.
var generationName = regexp.MustCompile(`^g[0-9]+$`)

func folderOf(generation uint64) string { return "g" + strconv.FormatUint(generation, 10) }

// checkRuntimeDir refuses what no waiting would mend.
func checkRuntimeDir(path string) error {
	if !filepath.IsAbs(path) || len(path) > maxRuntimeDir {
		return fmt.Errorf("cannot use runtime folder %q: it must be absolute and have at most %d bytes", path, maxRuntimeDir)
	}
	return nil
}

// tryRuntimeDir makes the runtime folder where somebody has removed it, and tries
// to write in it.
func tryRuntimeDir(path string) error {
	err := os.MkdirAll(path, 0o700)
	if err == nil {
		var probe string
		if probe, err = os.MkdirTemp(path, "probe"); err == nil {
			// A folder may fit into a file system in which no byte does.
			err = errors.Join(os.WriteFile(filepath.Join(probe, "byte"), []byte{0}, 0o600), os.RemoveAll(probe))
		}
	}
	if err != nil {
		return reason.Wrap(reason.RuntimeUnwritable, fmt.Errorf("cannot write in runtime folder: %w", err))
	}
	return nil
}

// makeFolders makes the folders of a generation anew, and returns the first's
// path.
func makeFolders(runtimeDir, name string) (string, error) {
	if err := remove(runtimeDir, name); err != nil {
		return "", err
	}
	path := filepath.Join(runtimeDir, name)
	for _, folder := range []string{path, filepath.Join(path, workerFolder), filepath.Join(path, chromeFolder)} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			return "", fmt.Errorf("cannot make folder of generation: %w", err)
		}
	}
	return path, nil
}

// The folders of a generation: HOME and TMPDIR of the worker, and those of its
// Chrome. The names are short because the paths of sockets must be.
const (
	workerFolder = "w"
	chromeFolder = "c"
)

// remove deletes the folder name in the runtime folder and can't leave that,
// whatever links are in it.
func remove(runtimeDir, name string) error {
	if !generationName.MatchString(name) {
		return fmt.Errorf("cannot remove %q: it is no folder of a generation", name)
	}
	root, err := os.OpenRoot(runtimeDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot open runtime folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	if err := root.RemoveAll(name); err != nil {
		return fmt.Errorf("cannot remove folder of generation: %w", err)
	}
	return nil
}

// wipe deletes the folders that a predecessor's generations have left.
func wipe(runtimeDir string) error {
	entries, err := os.ReadDir(runtimeDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot list runtime folder: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if generationName.MatchString(e.Name()) {
			errs = append(errs, remove(runtimeDir, e.Name()))
		}
	}
	return errors.Join(errs...)
}
