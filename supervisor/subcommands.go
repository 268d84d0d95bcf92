package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"session-manager/shared/proctree"
	"session-manager/supervisor/internal/archive"
	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/doctor"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/profile"
	"session-manager/supervisor/internal/smallfile"
	"session-manager/supervisor/internal/wait"
	"session-manager/supervisor/internal/worker"
)

// examine is the command doctor.
func examine(ctx context.Context, cfg *config.Config, stdout io.Writer) error {
	log := slog.New(slog.DiscardHandler)
	files := newFiles(cfg, log)
	if err := proctree.BecomeSubreaper(); err != nil {
		return fmt.Errorf("%w: %w", doctor.ErrFindings, err)
	}
	return doctor.Run(ctx, doctor.Options{
		Config: cfg, Limits: sessionLimits(cfg),
		Open:  func(ctx context.Context) error { return files.open(ctx, cfg) },
		Proxy: func(r *http.Request) (*url.URL, error) { return files.route.Proxy(r) },
		Workers: func(tokens string) (worker.Options, func(), error) {
			chromeArgs, forwarder, err := openProxy(cfg, files.route, log)
			if err != nil {
				return worker.Options{}, nil, err
			}
			forwarding, end := context.WithCancel(ctx)
			if forwarder != nil {
				go forwarder.Run(forwarding)
			}
			dir := temporaryRuntimeDir(tokens, log) // the other one is that of the service, which may run
			options := workerOptions(cfg, tokens, dir, files, log)
			options.ChromeArgs = chromeArgs
			return options, func() { end(); removeRuntimeDir(dir, log) }, nil
		},
	}, stdout)
}

// exportLogin is the command session export.
func exportLogin(ctx context.Context, cfg *config.Config, stdout io.Writer) error {
	passphrase, err := readPassphrase(ctx, cfg, true)
	if err != nil {
		return err
	}
	e := login.Export{Tokens: cfg.Tokens, File: cfg.Archive, Passphrase: passphrase, Backup: cfg.Backup, Work: archive.Work}
	report := stdout
	if cfg.Archive == config.Standard {
		if term.IsTerminal(int(os.Stdout.Fd())) {
			return fmt.Errorf("%w: standard output is a terminal; redirect it to a file", config.ErrUsage)
		}
		e.To, report = stdout, os.Stderr
	}
	m, err := e.Run(ctx)
	if denied, ok := errors.AsType[*fs.PathError](err); ok && errors.Is(err, fs.ErrPermission) && filepath.Dir(denied.Path) == filepath.Dir(cfg.Archive) {
		return fmt.Errorf("%w; choose a folder in which user %d can write, or export to - and redirect that", err, os.Geteuid())
	}
	if errors.Is(err, profile.ErrHeld) {
		return fmt.Errorf("%w; or export the newest backup with --backup", err)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(report, "exported the login %s to %s\nuse it in one place only\n", describe(m), cfg.Archive)
	return err
}

// importLogin is the command session import.
func importLogin(ctx context.Context, cfg *config.Config, stdout io.Writer) error {
	passphrase, err := readPassphrase(ctx, cfg, false)
	if err != nil {
		return err
	}
	m, moved, messages, err := login.Import(ctx, cfg.Tokens, cfg.Archive, passphrase)
	if errors.Is(err, archive.ErrUnreadable) && errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; let user %d read it, or import - and redirect the file to that", err, os.Geteuid())
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "imported the login %s from %s\nthe previous profile is now %s in admin.quarantine\n", describe(m), cfg.Archive, moved)
	for _, remark := range []struct {
		n    int
		what string
	}{
		{messages.Keyless, "were imported without their idempotency keys, which other messages have here"},
		{messages.Invalid, "can't be sent, and have failed (invalid_message)"},
		{messages.Damaged, "can't be read, and were set aside"},
	} {
		if remark.n > 0 && err == nil {
			_, err = fmt.Fprintf(stdout, "%d messages %s\n", remark.n, remark.what)
		}
	}
	return err
}

// describe identifies a login to a person.
func describe(m profile.Manifest) string {
	if m.LinkedAt.IsZero() {
		return fmt.Sprintf("(%d files, of unknown age)", len(m.Files))
	}
	return fmt.Sprintf("(%d files, linked on %s, backed up on %s)", len(m.Files), m.LinkedAt.Format(time.RFC3339), m.CreatedAt.Format(time.RFC3339))
}

// readPassphrase takes it from the file, the environment or a person; twice from a
// person, if asked to, as nobody can guess a mistyped one later.
func readPassphrase(ctx context.Context, cfg *config.Config, twice bool) (string, error) {
	switch {
	case cfg.PassphraseFile != "":
		return passphraseOf(ctx, cfg)
	case cfg.Passphrase != "":
		return cfg.Passphrase, nil
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", &config.Problem{Name: "--passphrase-file", Allowed: "there is no terminal to ask for the passphrase, so name a file that holds it"}
	}
	defer func() { _ = tty.Close() }()
	passphrase, err := ask(ctx, tty, "Passphrase: ")
	if err != nil || !twice {
		return passphrase, err
	}
	again, err := ask(ctx, tty, "Once more: ")
	if err == nil && again != passphrase {
		err = fmt.Errorf("%w: the passphrases differ", config.ErrUsage)
	}
	return passphrase, err
}

const (
	// passphraseTimeout is how long the writer of a pipe may take: a password manager may
	// ask a person first.
	passphraseTimeout = 2 * time.Minute
	// maxPassphrase bounds a passphrase, in bytes.
	maxPassphrase = 64 << 10
)

// passphraseOf returns the first line of a file. Unlike other files it may be a pipe, such
// as /dev/stdin or the one of <(pass show backup).
func passphraseOf(ctx context.Context, cfg *config.Config) (string, error) {
	const name = "--passphrase-file"
	bounded, cancel := context.WithTimeoutCause(ctx, passphraseTimeout, &config.Problem{Name: name, Allowed: "no passphrase came within " + passphraseTimeout.String()})
	defer cancel()
	line, err := wait.For(bounded, func() (string, error) { return firstLine(cfg.PassphraseFile) })
	switch {
	case bounded.Err() != nil:
		return "", context.Cause(bounded)
	case err != nil:
		return "", cfg.FileProblem(name, err)
	}
	return notEmpty(line)
}

// firstLine reads no more than it needs, and waits for the writer of a pipe.
func firstLine(path string) (string, error) {
	f, err := smallfile.OpenInherited(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	line, err := bufio.NewReader(io.LimitReader(f, maxPassphrase+1)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if len(line) > maxPassphrase {
		return "", fmt.Errorf("the passphrase is longer than %d bytes", maxPassphrase)
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
}

func notEmpty(passphrase string) (string, error) {
	if passphrase == "" {
		return "", fmt.Errorf("%w: the passphrase is empty", config.ErrUsage)
	}
	return passphrase, nil
}

// ask reads a line that the terminal does not show.
func ask(ctx context.Context, tty *os.File, prompt string) (string, error) {
	failed := func(err error) (string, error) { return "", fmt.Errorf("cannot ask for the passphrase: %w", err) }
	if _, err := fmt.Fprint(tty, prompt); err != nil {
		return failed(err)
	}
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		return failed(err)
	}
	defer func() { _, _ = fmt.Fprintln(tty) }()
	var line []byte
	read := make(chan error, 1)
	// A read of a terminal can't be interrupted; the process exits soon after ctx ends.
	go func() {
		var err error
		line, err = term.ReadPassword(int(tty.Fd()))
		read <- err
	}()
	select {
	case err := <-read:
		if err != nil {
			return failed(err)
		}
		return notEmpty(string(line))
	case <-ctx.Done():
		return failed(errors.Join(ctx.Err(), term.Restore(int(tty.Fd()), before)))
	}
}
