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

// runtimeDir is the private folder for sockets and temporary files of the workers. Its
// name depends only on the tokens folder, so that the next process finds and removes
// what a killed supervisor left behind.
type runtimeDir struct {
	path string
	ours bool
}

func openRuntimeDir(tokens string) (*runtimeDir, error) {
	// systemd gives a colon-separated list (systemd.exec(5), RuntimeDirectory=).
	if given, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); given != "" {
		return &runtimeDir{path: given}, nil
	}
	sum := sha256.Sum256([]byte(tokens))
	name := fmt.Sprintf("session-manager-%d-%x", os.Getuid(), sum[:4])
	path := filepath.Join(os.TempDir(), name)
	if len(path) > process.MaxRuntimeDir {
		path = filepath.Join("/tmp", name)
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("cannot create the runtime folder: %w", err)
	}
	if err := private(path); err != nil {
		return nil, err
	}
	return &runtimeDir{path: path, ours: true}, nil
}

// private returns an error for a folder that another user could have created.
func private(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("cannot check the runtime folder: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || stat.Uid != uint32(os.Getuid()) || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("cannot use %s as the runtime folder: it must belong to this user and have mode 0700; remove it", path)
	}
	return nil
}

// remove deletes the folder if it is empty. What is in it belongs to another
// supervisor, or will be removed by the next one.
func (d *runtimeDir) remove(log *slog.Logger) {
	if !d.ours {
		return
	}
	err := os.Remove(d.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		log.Warn(logid.RuntimeFolderRemoveFailed, logging.KeyPath, d.path, logging.KeyError, err)
	}
}
