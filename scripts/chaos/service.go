package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"session-manager/scripts/harness"
)

// places are the folders and files of a run. All of it is private to the run, so
// that whatever is left can be seen.
type places struct {
	root, tokens, runtime, tmp string
	worker, chrome, log        string
}

func (p places) profile() string { return filepath.Join(p.tokens, "admin") }

// makePlaces makes the folders, a copy of the worker, and a link to Chrome, which
// faults may replace.
func makePlaces(o options) (places, error) {
	// Short: sockets are made below.
	root, err := os.MkdirTemp("/tmp", "chaos")
	if err != nil {
		return places{}, fmt.Errorf("cannot make folder: %w", err)
	}
	p := places{
		root: root, tokens: filepath.Join(root, "tokens"), runtime: filepath.Join(root, "run"), tmp: filepath.Join(root, "tmp"),
		worker: filepath.Join(root, "worker"), chrome: filepath.Join(root, "chrome"), log: filepath.Join(root, "log"),
	}
	for _, folder := range []string{p.tokens, p.runtime, p.tmp} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			return p, fmt.Errorf("cannot make folder: %w", err)
		}
	}
	if err := harness.CopyProgram(o.worker, p.worker); err != nil {
		return p, err
	}
	browser, err := findBrowser(o.chrome)
	if err != nil {
		return p, err
	}
	if err := os.Symlink(browser, p.chrome); err != nil {
		return p, fmt.Errorf("cannot link to Chrome: %w", err)
	}
	return p, nil
}

func findBrowser(given string) (string, error) {
	names := []string{"google-chrome-stable", "google-chrome", "chromium", "chromium-browser"}
	if given != "" {
		names = []string{given}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", errors.New("no browser on the PATH; install one, or name it with --chrome")
}

// startService starts the supervisor on the run's folders, and returns when it
// answers.
func startService(ctx context.Context, binary, address, url string, p places, args, env []string) (*harness.Service, error) {
	return harness.Start(ctx, harness.Options{
		Supervisor: binary, Address: address, URL: url, Folder: p.root,
		Args: append([]string{"--worker", p.worker, "--settle-time", "0s", "--chrome", p.chrome, "--log-level", "debug"}, args...), Env: env,
	})
}

// view is what GET /session says, as far as it matters here.
type view harness.View

func viewOf(ctx context.Context, s *harness.Service) (view, error) {
	v, err := s.View(ctx)
	return view(v), err
}
