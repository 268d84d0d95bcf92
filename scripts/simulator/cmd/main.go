// Command cmd serves the offline WhatsApp Web on loopback: the page on one
// address, and the levers on another.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"session-manager/scripts/simulator"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run serves until ctx ends. It returns the exit code: 0, 1 or, for bad flags, 2.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	options := simulator.Options{Logger: slog.New(slog.NewTextHandler(stderr, nil))}
	flags := flag.NewFlagSet("simulator", flag.ContinueOnError)
	flags.SetOutput(stderr)
	page := flags.String("listen", "127.0.0.1:3002", "loopback `address` of the page")
	control := flags.String("control", "127.0.0.1:3003", "loopback `address` of the levers")
	flags.Float64Var(&options.Speed, "speed", 1, "`factor` that divides every duration")
	flags.StringVar(&options.Profile, "profile", simulator.DefaultProfile, "`name` of the page to serve")
	flags.Func("fault", "`switch` to turn on, such as sync=stuck:99; repeatable", func(text string) error {
		options.Faults = append(options.Faults, text)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if err := serve(ctx, options, *page, *control, stdout); err != nil {
		_, _ = fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, options simulator.Options, page, control string, stdout io.Writer) error {
	sim, err := simulator.New(options)
	if err != nil {
		return err
	}
	defer sim.Close()
	pages, err := listen(page)
	if err != nil {
		return err
	}
	defer func() { _ = pages.Close() }() // Its server has closed it already.
	levers, err := listen(control)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(stdout, "page http://%s/  levers http://%s/\n", pages.Addr(), levers.Addr())
	failed := make(chan error, 2)
	for l, handler := range map[net.Listener]http.Handler{pages: sim, levers: sim.Control()} {
		server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
		defer func() { _ = server.Close() }()
		go func() { failed <- server.Serve(l) }() // Ends with Close.
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// listen refuses to show the page, and its secrets, to other machines.
func listen(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %q: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("cannot listen on %q: the simulator serves loopback only", address)
	}
	return net.Listen("tcp", address)
}
