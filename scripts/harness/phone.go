package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"session-manager/scripts/simulator"
)

// Site is an HTTP server.
type Site struct {
	// Address is where it listens, HOST:PORT.
	Address string
	server  *http.Server
	served  chan struct{}
}

// Serve serves h on an address until Close is called.
func Serve(ctx context.Context, address string, h http.Handler) (*Site, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	s := &Site{
		Address: l.Addr().String(), server: &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}, served: make(chan struct{}),
	}
	go func() {
		defer close(s.served)
		_ = s.server.Serve(l)
	}()
	return s, nil
}

// Close closes every connection.
func (s *Site) Close() {
	_ = s.server.Close()
	<-s.served
}

// Phone is a simulator behind an address: the page, and the phone that scans it.
type Phone struct {
	*simulator.Server
	// URL is the page's.
	URL  string
	site *Site
}

// NewPhone starts a simulator. The caller ends it with Close.
func NewPhone(ctx context.Context, o simulator.Options) (*Phone, error) {
	sim, err := simulator.New(o)
	if err != nil {
		return nil, err
	}
	site, err := Serve(ctx, "127.0.0.1:0", sim)
	if err != nil {
		sim.Close()
		return nil, err
	}
	return &Phone{Server: sim, URL: "http://" + site.Address + "/", site: site}, nil
}

// Close ends the simulator.
func (p *Phone) Close() {
	p.Server.Close()
	p.site.Close()
}

// Link scans the QR that the page shows to s, and waits until s is READY.
func (p *Phone) Link(ctx context.Context, s *Service) error {
	if _, _, err := s.NextQR(ctx, ""); err != nil {
		return err
	}
	if err := p.Scan(ctx); err != nil {
		return err
	}
	return s.AwaitStatus(ctx, "READY")
}

// WriteSelectors writes a selectors file that has only these readers, and otherwise
// what the built-in file has. It must run in the repository.
func WriteSelectors(file string, readers ...string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	content, err := os.ReadFile(filepath.Join(root, "shared/selectors/selectors.json"))
	if err != nil {
		return fmt.Errorf("cannot read the built-in selectors: %w", err)
	}
	var all map[string]any
	if err := json.Unmarshal(content, &all); err != nil {
		return fmt.Errorf("cannot read the built-in selectors: %w", err)
	}
	all["readers"] = map[string]any{"about": "some alone", "use": readers}
	if content, err = json.Marshal(all); err != nil {
		return fmt.Errorf("cannot encode selectors: %w", err)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return fmt.Errorf("cannot write selectors: %w", err)
	}
	return nil
}
