package backupcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// workers is where Chrome keeps which service workers are installed. Without it
// none of the page's can run, at a sync in the background neither.
const workers = "Default/Service Worker/Database"

// copyTree copies the folder from into the empty folder to, all but workers. Where the
// file system can, the copies share their blocks with the originals.
func copyTree(ctx context.Context, from, to string) error {
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case rel == ".":
			return nil
		case d.IsDir() && filepath.ToSlash(rel) == workers:
			return fs.SkipDir
		case d.IsDir():
			return os.Mkdir(target, 0o700)
		case !d.Type().IsRegular():
			return nil
		}
		return copyFile(ctx, path, target)
	})
	if err != nil {
		return fmt.Errorf("cannot make a copy of the copy: %w", err)
	}
	return nil
}

// portion is how much is copied between two looks at the context, in bytes.
const portion = 16 << 20

func copyFile(ctx context.Context, from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := dst.Close(); err == nil {
			err = closeErr
		}
	}()
	for {
		// From file to file this is copy_file_range(2).
		_, err := io.CopyN(dst, src, portion)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}
