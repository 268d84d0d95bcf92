package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/supervisor/internal/archive"
	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/profile"
)

// transfer is the commands session export and session import.
func transfer(cfg *config.Config, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exporting := cfg.Command == config.CommandExport
	passphrase, err := passphraseOf(ctx, cfg, exporting)
	if err != nil {
		return err
	}
	if !exporting {
		m, moved, err := login.Import(ctx, cfg.Tokens, cfg.Archive, passphrase)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(stdout, "imported the login %s from %s\nthe profile that was there is now %s in admin.quarantine\n", described(m), cfg.Archive, moved)
		return err
	}
	m, err := login.Export{
		Tokens: cfg.Tokens, File: cfg.Archive, Passphrase: passphrase, Backup: cfg.Backup, Work: archive.Work,
	}.Run(ctx)
	if errors.Is(err, profile.ErrHeld) {
		return fmt.Errorf("%w; or export the newest copy with --backup", err)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "exported the login %s to %s\nstart the service with it in one place only\n", described(m), cfg.Archive)
	return err
}

// described tells which login it is.
func described(m profile.Manifest) string {
	if m.LinkedAt.IsZero() {
		return fmt.Sprintf("(%d files, of unknown age)", len(m.Files))
	}
	return fmt.Sprintf("(%d files, linked on %s, copied on %s)", len(m.Files), m.LinkedAt.Format(time.RFC3339), m.CreatedAt.Format(time.RFC3339))
}

// passphraseOf takes it from the file, the environment or a person; twice from a
// person who could mistype what nobody can guess later.
func passphraseOf(ctx context.Context, cfg *config.Config, twice bool) (string, error) {
	switch {
	case cfg.PassphraseFile != "":
		data, err := os.ReadFile(cfg.PassphraseFile)
		if err != nil {
			return "", &config.Problem{Name: "--passphrase-file", Value: cfg.PassphraseFile, Allowed: "it must be a file that can be read (" + err.Error() + ")"}
		}
		first, _, _ := strings.Cut(string(data), "\n")
		return notEmpty(strings.TrimSuffix(first, "\r"))
	case cfg.Passphrase != "":
		return cfg.Passphrase, nil
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", &config.Problem{Name: "--passphrase-file", Value: "", Allowed: "there is no terminal to ask for the passphrase, so name a file that holds it"}
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

func notEmpty(passphrase string) (string, error) {
	if passphrase == "" {
		return "", fmt.Errorf("%w: the passphrase is empty", config.ErrUsage)
	}
	return passphrase, nil
}

// ask reads a line that the terminal does not show. Whatever happens, the terminal
// shows the next one again.
func ask(ctx context.Context, tty *os.File, prompt string) (string, error) {
	if _, err := fmt.Fprint(tty, prompt); err != nil {
		return "", fmt.Errorf("cannot ask for passphrase: %w", err)
	}
	before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		return "", fmt.Errorf("cannot ask for passphrase: %w", err)
	}
	quiet := *before
	quiet.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, &quiet); err != nil {
		return "", fmt.Errorf("cannot ask for passphrase: %w", err)
	}
	defer func() {
		_ = unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, before)
		_, _ = fmt.Fprintln(tty)
	}()
	type answer struct {
		line string
		err  error
	}
	read := make(chan answer, 1)
	// A read of a terminal can't be interrupted; the process ends soon after ctx.
	go func() {
		line := make([]byte, 4096)
		n, err := tty.Read(line)
		read <- answer{strings.TrimRight(string(line[:n]), "\r\n"), err}
	}()
	select {
	case a := <-read:
		if a.err != nil {
			return "", fmt.Errorf("cannot ask for passphrase: %w", a.err)
		}
		return notEmpty(a.line)
	case <-ctx.Done():
		return "", fmt.Errorf("cannot ask for passphrase: %w", ctx.Err())
	}
}
