package main

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"syscall"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// page is a simulator behind an address.
type page struct {
	*simulator.Server
	url  string
	http *httptest.Server
}

func openSimulator(o simulator.Options) (*page, error) {
	sim, err := simulator.New(o)
	if err != nil {
		return nil, err
	}
	server := httptest.NewServer(sim)
	return &page{Server: sim, url: server.URL + "/", http: server}, nil
}

func (p *page) close() {
	p.Close()
	p.http.Close()
}

// start runs the service in a folder, on the page.
func (b *bench) start(ctx context.Context, p *page, folder string, args ...string) (*harness.Service, error) {
	return harness.Start(ctx, harness.Options{Supervisor: b.supervisor, URL: p.url, Folder: folder, Args: args})
}

// serve runs the service on a simulator of its own, in a fresh folder, until end is
// called.
func (b *bench) serve(ctx context.Context, o simulator.Options, args ...string) (s *harness.Service, end func() error, err error) {
	folder, err := b.fresh()
	if err != nil {
		return nil, nil, err
	}
	p, err := openSimulator(o)
	if err != nil {
		return nil, nil, err
	}
	if s, err = b.start(ctx, p, folder, args...); err != nil {
		p.close()
		return nil, nil, err
	}
	return s, func() error {
		defer p.close()
		return s.Stop()
	}, nil
}

const attribute = `document.querySelector('[data-ref]')?.dataset.ref`

// measureStart compares from the exec to the code, from the death of Chrome to
// the next code, and from the exec to READY on a profile that is linked.
func (b *bench) measureStart(ctx context.Context) error {
	p, err := openSimulator(simulator.Options{})
	if err != nil {
		return err
	}
	defer p.close()
	var ours, floors, again []time.Duration
	for range b.rounds {
		took, err := b.floorStart(ctx, p)
		if err != nil {
			return err
		}
		floors = append(floors, took)
		first, next, err := b.oursStart(ctx, p)
		if err != nil {
			return err
		}
		ours, again = append(ours, first), append(again, next)
	}
	least := median(floors)
	b.table.Rows = append(b.table.Rows,
		ratio("exec to QR on /qr", "ms", median(ours), least, 1.15),
		ratio("SIGKILL of Chrome to next QR", "ms", median(again), least, 1.15))
	return b.measureWarm(ctx, p)
}

func (b *bench) floorStart(ctx context.Context, p *page) (time.Duration, error) {
	folder, err := b.fresh()
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	f, err := startFloor(ctx, b.browser, folder, b.userAgent)
	if err != nil {
		return 0, err
	}
	defer f.close()
	if _, err := f.shows(p.url, attribute); err != nil {
		return 0, err
	}
	return time.Since(begun), nil
}

func (b *bench) oursStart(ctx context.Context, p *page) (first, next time.Duration, err error) {
	folder, err := b.fresh()
	if err != nil {
		return 0, 0, err
	}
	s, err := b.start(ctx, p, folder)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	body, _, err := s.NextQR(ctx, "")
	if err != nil {
		return 0, 0, err
	}
	first = time.Since(s.StartedAt)
	v, err := s.View(ctx)
	if err != nil || v.Browser == nil {
		return 0, 0, fmt.Errorf("no browser on /session: %w", err)
	}
	begun := time.Now()
	if err := syscall.Kill(v.Browser.PID, syscall.SIGKILL); err != nil {
		return 0, 0, fmt.Errorf("cannot kill Chrome: %w", err)
	}
	if _, _, err := s.NextQR(ctx, body); err != nil {
		return 0, 0, err
	}
	return first, time.Since(begun), nil
}

// measureWarm links both once, and starts both again. The floor is ready when
// the chats are there.
func (b *bench) measureWarm(ctx context.Context, p *page) error {
	oursFolder, err := b.fresh()
	if err != nil {
		return err
	}
	floorFolder, err := b.fresh()
	if err != nil {
		return err
	}
	if err := b.linkOurs(ctx, p, oursFolder); err != nil {
		return err
	}
	if err := b.linkFloor(ctx, p, floorFolder); err != nil {
		return err
	}
	var ours, floors []time.Duration
	for range b.rounds {
		begun := time.Now()
		f, err := startFloor(ctx, b.browser, floorFolder, b.userAgent)
		if err != nil {
			return err
		}
		_, err = f.shows(p.url, chats)
		floors = append(floors, time.Since(begun))
		f.close()
		if err != nil {
			return err
		}
		s, err := b.start(ctx, p, oursFolder)
		if err != nil {
			return err
		}
		err = s.AwaitStatus(ctx, "READY")
		ours = append(ours, time.Since(s.StartedAt))
		if err := errors.Join(err, s.Stop()); err != nil {
			return err
		}
	}
	b.table.Rows = append(b.table.Rows, ratio("exec to READY, linked", "ms", median(ours), median(floors), 1.15))
	return nil
}

const chats = `document.querySelector('#pane-side, #side') ? 'yes' : ''`

func (b *bench) linkOurs(ctx context.Context, p *page, folder string) (err error) {
	s, err := b.start(ctx, p, folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if _, _, err := s.NextQR(ctx, ""); err != nil {
		return err
	}
	if err := p.Scan(ctx); err != nil {
		return err
	}
	return s.AwaitStatus(ctx, "READY")
}

func (b *bench) linkFloor(ctx context.Context, p *page, folder string) error {
	f, err := startFloor(ctx, b.browser, folder, b.userAgent)
	if err != nil {
		return err
	}
	defer f.close() // a clean end, which flushes the profile
	tab, err := f.shows(p.url, attribute)
	if err != nil {
		return err
	}
	if _, err := p.Shown(ctx); err != nil {
		return err
	}
	if err := p.Scan(ctx); err != nil {
		return err
	}
	_, err = f.await(tab, chats)
	return err
}

// selectors is where the built-in selectors lies in this repository, for files
// that leave readers out.
var selectors = filepath.Join("shared", "selectors", "selectors.json")
