// Command cmd serves the offline WhatsApp Web on loopback: the page on one
// address, with --tls by a certificate made for the occasion, the levers on
// another.
package main

import (
	"context"
	"crypto/tls"
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

// closeTimeout bounds what is left of requests when the command ends.
const closeTimeout = 2 * time.Second

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
	listen := flags.String("listen", "127.0.0.1:3002", "loopback `address` of the page")
	control := flags.String("control", "127.0.0.1:3003", "loopback `address` of the levers")
	secure := flags.Bool("tls", false, "serve the page by https")
	flags.Float64Var(&options.Speed, "speed", 1, "`factor` that divides every duration")
	flags.StringVar(&options.Profile, "profile", simulator.DefaultProfile, "`name` of the page to serve")
	flags.Func("fault", "`switch` to turn on, like sync=stuck:99; may be repeated", func(text string) error {
		options.Faults = append(options.Faults, text)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if err := serve(ctx, options, *listen, *control, *secure, stdout); err != nil {
		_, _ = fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, options simulator.Options, page, control string, secure bool, stdout io.Writer) error {
	sim, err := simulator.New(options)
	if err != nil {
		return err
	}
	defer sim.Close()
	pages, scheme, err := listenPages(page, secure)
	if err != nil {
		return err
	}
	levers, err := listenLoopback(control)
	if err != nil {
		return errors.Join(err, pages.Close())
	}
	_, _ = fmt.Fprintf(stdout, "page %s://%s/  levers http://%s/\n", scheme, pages.Addr(), levers.Addr())
	ended := make(chan error, 2)
	servers := []*http.Server{start(pages, sim, ended), start(levers, sim.Control(), ended)}
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	sim.Close()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	for _, server := range servers {
		if server.Shutdown(limit) != nil {
			_ = server.Close() // It had its chance.
		}
	}
	return err
}

func start(l net.Listener, handler http.Handler, ended chan<- error) *http.Server {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { ended <- server.Serve(l) }() // Ends with Shutdown or Close.
	return server
}

// listenPages returns the page's listener and the scheme that it speaks.
func listenPages(address string, secure bool) (net.Listener, string, error) {
	l, err := listenLoopback(address)
	if err != nil || !secure {
		return l, "http", err
	}
	certificate, err := simulator.NewCertificate()
	if err != nil {
		return nil, "", errors.Join(err, l.Close())
	}
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}), "https", nil
}

// listenLoopback refuses to show the page, and its secrets, to other machines.
func listenLoopback(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %q: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("cannot listen on %q: the simulator serves loopback only", address)
	}
	return net.Listen("tcp", address)
}
