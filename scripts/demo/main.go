// Command demo runs the service against the simulator on this machine, without
// internet or phone, and shows what happens. With --auto it plays the phone as well,
// restarts everything once, and exits.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

func main() {
	harness.Main("demo", func(ctx context.Context, args []string, out io.Writer) error {
		err := run(ctx, args, out)
		if ctx.Err() != nil {
			return nil // Ctrl-C is how it ends
		}
		return err
	})
}

// demo is one run. Everything it prints goes to out.
type demo struct {
	out           io.Writer
	options       harness.Options
	page, control string
	speed         float64
	auto          bool
	startedAt     time.Time
}

func run(ctx context.Context, args []string, out io.Writer) error {
	installed, err := harness.Installed()
	if err != nil {
		return err
	}
	d := &demo{out: out, startedAt: time.Now()}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&d.options.Listen, "listen", "127.0.0.1:3001", "address of the service")
	flags.StringVar(&d.page, "page", "127.0.0.1:3002", "address of the simulated page")
	flags.StringVar(&d.control, "control", "127.0.0.1:3003", "address of the simulator's control API")
	flags.StringVar(&d.options.Tokens, "tokens", "tokens/demo", "folder of the login")
	flags.StringVar(&d.options.Supervisor, "supervisor", installed.Supervisor, "binary of the service")
	flags.StringVar(&d.options.Log, "log", filepath.Join(filepath.Dir(installed.Supervisor), "demo.log"), "file for the service's log")
	flags.Float64Var(&d.speed, "speed", 1, "speed of the simulator's clock")
	flags.BoolVar(&d.auto, "auto", false, "play the phone, restart everything once, and exit")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := os.RemoveAll(d.options.Log); err != nil {
		return fmt.Errorf("cannot remove the old log: %w", err)
	}
	if d.options.Folder, err = os.MkdirTemp("/tmp", "demo"); err != nil {
		return fmt.Errorf("cannot make folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(d.options.Folder) }()
	if err := d.session(ctx); err != nil || !d.auto {
		return err
	}
	d.say("everything is stopped; now the same again, without a phone")
	return d.session(ctx)
}

func (d *demo) say(format string, args ...any) {
	_, _ = fmt.Fprintf(d.out, "%6.1fs  %s\n", time.Since(d.startedAt).Seconds(), fmt.Sprintf(format, args...))
}

// session runs simulator and service until ctx ends or, with --auto, until the session
// is READY.
func (d *demo) session(ctx context.Context) (err error) {
	sim, err := simulator.New(simulator.Options{Speed: d.speed})
	if err != nil {
		return err
	}
	defer sim.Close()
	for address, handler := range map[string]http.Handler{d.page: sim, d.control: sim.Control()} {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("cannot listen: %w", err)
		}
		site := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
		defer func() { _ = site.Close() }()
		go func() { _ = site.Serve(l) }() // ends with Close
	}
	d.options.URL = "http://" + d.page + "/"
	s, err := harness.Start(ctx, d.options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	d.say("the service answers on %s, its log is %s", s.Base, d.options.Log)
	if !d.auto {
		d.say("try: curl -s %[1]s/status; curl -s %[1]s/qr; curl -s %[1]s/session", s.Base)
	}
	return d.follow(ctx, s, sim)
}

// follow prints each change of the state, and plays the phone when asked to.
func (d *demo) follow(ctx context.Context, s *harness.Service, sim *simulator.Server) error {
	last := ""
	for path := "/status"; ; path = "/status?wait=30s" {
		state, err := s.Get(ctx, path)
		if err != nil {
			return err
		}
		if state == last {
			continue
		}
		last = state
		d.say("%s", state)
		switch {
		case state == `{"status":"QR_REQUIRED"}`:
			err = d.showQR(ctx, s, sim)
		case state == `{"status":"READY"}` && d.auto:
			return nil
		case state == `{"status":"READY"}`:
			d.say("Ctrl-C ends this; after that, make demo is READY without a scan")
		}
		if err != nil {
			return err
		}
	}
}

func (d *demo) showQR(ctx context.Context, s *harness.Service, sim *simulator.Server) error {
	if _, _, err := s.NextQR(ctx, ""); err != nil {
		return err
	}
	code, err := s.Get(ctx, "/qr.txt")
	if err != nil {
		return err
	}
	_, _ = io.WriteString(d.out, code)
	if !d.auto {
		d.say("no phone at hand? this plays its scan: curl -s -X POST http://%s/scan", d.control)
		return nil
	}
	d.say("the phone scans it")
	return sim.Scan(ctx)
}
