package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"session-manager/shared/logging"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/worker/process"
)

// runtimeDirs is how many names are tried when others have taken the first ones.
const runtimeDirs = 10

// chooseRuntimeDir returns the private folder for sockets and temporary files of the
// workers. Its name depends only on the tokens folder, so that the next process finds and
// removes what a killed supervisor left behind. That it can't be made at the moment is
// found out before each start of a worker.
func chooseRuntimeDir(tokens string, log *slog.Logger) process.RuntimeDir {
	// systemd gives a colon-separated list (systemd.exec(5), RuntimeDirectory=).
	if given, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); given != "" {
		return process.RuntimeDir{Path: given}
	}
	return temporaryRuntimeDir(tokens, log)
}

func temporaryRuntimeDir(tokens string, log *slog.Logger) process.RuntimeDir {
	sum := sha256.Sum256([]byte(tokens))
	name := fmt.Sprintf("session-manager-%d-%x", os.Getuid(), sum[:4])
	first := filepath.Join(os.TempDir(), name)
	if len(first)+len("-9") > process.MaxRuntimeDir {
		first = filepath.Join("/tmp", name)
	}
	dir := process.RuntimeDir{Path: first, Temporary: true}
	for n := 1; n < runtimeDirs; n++ {
		err := dir.Prepare()
		if !errors.Is(err, process.ErrForeign) {
			return dir
		}
		log.Warn(logid.RuntimeFolderRejected, logging.KeyError, err)
		dir.Path = fmt.Sprintf("%s-%d", first, n)
	}
	return dir
}

// removeRuntimeDir deletes the folder if it is empty and not systemd's. What is in it
// belongs to another supervisor, or will be removed by the next one.
func removeRuntimeDir(dir process.RuntimeDir, log *slog.Logger) {
	if !dir.Temporary {
		return
	}
	err := os.Remove(dir.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		log.Warn(logid.RuntimeFolderRemoveFailed, logging.KeyPath, dir.Path, logging.KeyError, err)
	}
}
