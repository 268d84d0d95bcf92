package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"

	"session-manager/scripts/simulator"
)

// Phone is a simulator behind an address: the page, and the phone that scans it.
type Phone struct {
	*simulator.Server
	// URL is the page's.
	URL  string
	site *httptest.Server
}

// NewPhone starts a simulator. The caller ends it with Close.
func NewPhone(o simulator.Options) (*Phone, error) {
	sim, err := simulator.New(o)
	if err != nil {
		return nil, err
	}
	site := httptest.NewServer(sim)
	return &Phone{Server: sim, URL: site.URL + "/", site: site}, nil
}

// Close ends the simulator.
func (p *Phone) Close() {
	p.Server.Close()
	p.site.Close()
}

// Scan scans the code that the page shows, again where it was renewed meanwhile or its page has
// lost the connection, until ctx ends.
func (p *Phone) Scan(ctx context.Context) error {
	for {
		err := p.Server.Scan(ctx)
		if err == nil || Pause(ctx, pollEvery) != nil {
			return err
		}
	}
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
func WriteSelectors(ctx context.Context, file string, readers ...string) error {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(filepath.Join(root, "shared/selectors/selectors.json"))
	if err != nil {
		return err
	}
	var all map[string]any
	if err := json.Unmarshal(content, &all); err != nil {
		return fmt.Errorf("cannot read the built-in selectors: %w", err)
	}
	all["readers"] = map[string]any{"about": "some alone", "use": readers}
	if content, err = json.Marshal(all); err != nil {
		return fmt.Errorf("cannot encode selectors: %w", err)
	}
	return os.WriteFile(file, content, 0o600)
}
