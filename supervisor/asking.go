package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/client"
	"session-manager/supervisor/internal/config"
	"session-manager/supervisor/internal/smallfile"
	"session-manager/supervisor/internal/wait"
)

// askService executes a command for a running service.
func askService(ctx context.Context, args []string, stdout io.Writer) error {
	cmd, err := config.ParseClient(args, stdout)
	if err != nil {
		return err
	}
	if limit := cmd.Limit(); limit > 0 {
		bounded, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w: it took longer than %s", client.ErrLater, limit))
		defer cancel()
		ctx = bounded
	}
	options, err := findService(ctx, cmd)
	if err != nil {
		return err
	}
	c, err := client.New(options)
	if err != nil {
		return err
	}
	return execute(ctx, cmd, c, options.Address, stdout)
}

// execute executes a command by c, the client of the service at an address.
func execute(ctx context.Context, cmd *config.Client, c *client.Client, address string, stdout io.Writer) error {
	out := client.Output{Writer: stdout, JSON: cmd.JSON()}
	if term.IsTerminal(unix.Stdout) && !out.JSON {
		out.Size = func() (columns, rows int) { s := sizeOf(unix.Stdout); return s.columns, s.rows }
	}
	switch cmd.Command {
	case "status":
		return c.Status(ctx, out, cmd.Status.Wait)
	case "qr":
		return c.ShowQR(ctx, watchSize(ctx, client.NewView(out, address)))
	case "pair":
		phone, err := given(ctx, cmd.Pair.Phone)
		if err != nil {
			return err
		}
		return c.Pair(ctx, watchSize(ctx, client.NewView(out, address)), phone)
	case "logout":
		if err := confirm(ctx, cmd.Logout.Yes); err != nil {
			return err
		}
		return c.LogOut(ctx, out, cmd.Logout.Purge)
	case "restart":
		return c.Restart(ctx, out, cmd.Restart.Now)
	case "send":
		text, err := given(ctx, cmd.Send.Text)
		if err != nil {
			return err
		}
		return c.Send(ctx, out, client.Message{To: cmd.Send.To, Text: text, Key: cmd.Send.IdempotencyKey, Wait: cmd.Send.Wait})
	default:
		return c.Events(ctx, out, cmd.Events.Types)
	}
}

// findService returns where the service is and with which keys it is asked: what the command
// line has, or else the settings of the service.
func findService(ctx context.Context, cmd *config.Client) (o client.Options, err error) {
	if cmd.KeyFile != "" {
		if o.Keys, err = wait.For(ctx, func() ([]byte, error) { return readAll(cmd.KeyFile, smallfile.Max) }); err != nil {
			return o, &config.Problem{Name: "--key-file", Allowed: err.Error()}
		}
	}
	if cmd.URL != "" {
		o.Address = cmd.URL
		return o, nil
	}
	var args []string
	if cmd.File != "" {
		args = append(args, "--config="+cmd.File)
	}
	if cmd.Instance != "" {
		args = append(args, "--instance="+cmd.Instance)
	}
	cfg, err := settingsOf(ctx, args)
	if err != nil {
		return o, err
	}
	if o.Address, err = cfg.Reach(); err != nil {
		return o, err
	}
	if cfg.TLSCert != "" {
		if o.Certificate, err = smallfile.ReadSetting(ctx, cfg.TLSCert); err != nil {
			return o, cfg.FileProblem("--tls-cert", err)
		}
	}
	if o.Keys == nil && cfg.APIKeyFile != "" {
		// Without, the service explains what needs one.
		o.Keys, _ = smallfile.ReadSetting(ctx, cfg.APIKeyFile)
	}
	return o, nil
}

// settingsOf returns the settings of the service: of the installed one, unless args name a file.
func settingsOf(ctx context.Context, args []string) (cfg *config.Config, err error) {
	var below []config.Below
	if len(args) == 0 || config.InstanceOf(args) != "" {
		p, err := usePackaged(config.InstanceOf(args))
		if err != nil {
			return nil, err
		}
		if p != nil {
			for name, path := range p.service.Credentials {
				if p.below.Credentials[name] == "" { // it is there, but for root alone
					p.below.Credentials[name] = path
				}
			}
			below = append(below, p.below)
		}
	}
	cfg, _, err = config.Load(ctx, args, os.Environ(), io.Discard, version, below...)
	return cfg, err
}

// readAll reads a file or a pipe to its end.
func readAll(path string, limit int64) ([]byte, error) {
	f, err := smallfile.OpenInherited(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	return content, err
}

// given returns an argument, or standard input in place of -, without the end of its last line. An empty
// argument is a script's mistake: what is on standard input then is not meant.
func given(ctx context.Context, argument string) (string, error) {
	switch argument {
	case "":
		return "", fmt.Errorf("%w: <text> is empty", config.ErrUsage)
	case config.Standard:
	default:
		return argument, nil
	}
	if term.IsTerminal(unix.Stdin) {
		_, _ = fmt.Fprintln(os.Stderr, "Write it here, and end with Ctrl-D:")
	}
	content, err := wait.For(ctx, func() ([]byte, error) { return readAll(config.Standard, rpc.MaxMessageText+1) })
	text := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	switch {
	case ctx.Err() != nil:
		return "", err
	case err != nil:
		return "", fmt.Errorf("%w: cannot read standard input: %w", config.ErrUsage, err)
	case text == "":
		return "", fmt.Errorf("%w: standard input is empty", config.ErrUsage)
	case !utf8.ValidString(text):
		return "", fmt.Errorf("%w: standard input is not valid UTF-8", config.ErrUsage)
	}
	return text, nil
}

// confirm asks the person at the terminal, if there is one.
func confirm(ctx context.Context, yes bool) error {
	if yes || !term.IsTerminal(unix.Stdin) {
		return nil
	}
	if _, err := fmt.Fprint(os.Stderr, "This unlinks the phone. Write yes to continue: "); err != nil {
		return err
	}
	answer, err := wait.For(ctx, func() (string, error) { return bufio.NewReader(io.LimitReader(os.Stdin, 100)).ReadString('\n') })
	if ctx.Err() != nil {
		return err
	}
	if strings.TrimSpace(answer) != "yes" {
		return errors.Join(client.ErrFailed, errors.New("nothing was changed"))
	}
	return nil
}

// watchSize has v painted again when the terminal has another size, until ctx ends.
func watchSize(ctx context.Context, v *client.View) *client.View {
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	go func() {
		defer signal.Stop(resized)
		for {
			select {
			case <-resized:
				_ = v.Resized() // the next write fails, too
			case <-ctx.Done():
				return
			}
		}
	}()
	return v
}
