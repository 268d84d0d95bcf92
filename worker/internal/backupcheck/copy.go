package backupcheck

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
)

// workers is where Chrome keeps which service workers are installed. Without it
// none of the page's can run, not even for a sync in the background.
const workers = "Default/Service Worker/Database"

// source is a backup as it is copied: its folders and regular files, except workers.
type source struct {
	fs.FS
	// interrupted returns why no further file is to be copied.
	interrupted func() error
}

// Open implements fs.FS.
func (s source) Open(name string) (fs.File, error) {
	if err := s.interrupted(); err != nil {
		return nil, err
	}
	return s.FS.Open(name)
}

// ReadDir implements fs.ReadDirFS.
func (s source) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(s.FS, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return !e.IsDir() && !e.Type().IsRegular() || path.Join(name, e.Name()) == workers
	}), err
}

// copyTree copies the folder from into the empty folder to. Where the file system can,
// the copies share their blocks with the originals (copy_file_range(2)).
func copyTree(ctx context.Context, from, to string) error {
	if err := os.CopyFS(to, source{os.DirFS(from), ctx.Err}); err != nil {
		return fmt.Errorf("cannot copy backup: %w", err)
	}
	return nil
}
