package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// What a page shows: a QR, or the chats of a linked account.
const (
	qrShown    = `document.querySelector('[data-ref]')?.dataset.ref`
	chatsShown = `document.querySelector('#pane-side, #side') ? 'yes' : ''`
)

// measureStart compares from the exec to the QR, from the death of Chrome to the next
// QR, and from the exec to READY on a profile that is linked.
func measureStart(ctx context.Context, b *bench) error {
	p, err := harness.NewPhone(simulator.Options{})
	if err != nil {
		return err
	}
	defer p.Close()
	var ours, floors, recoveries, again []time.Duration
	for range b.rounds {
		first, next, err := floorRecovery(ctx, b, p, b.fresh())
		if err != nil {
			return err
		}
		floors, again = append(floors, first), append(again, next)
		first, next, err = oursStart(ctx, b, p)
		if err != nil {
			return err
		}
		ours, recoveries = append(ours, first), append(recoveries, next)
	}
	b.table.add(ratio("exec to QR on /qr", "ms", median(ours), median(floors), 1.1),
		ratio("SIGKILL of Chrome to next QR", "ms", median(recoveries), median(again), 1.1))
	return measureWarm(ctx, b, p)
}

// storing is how long a page with a QR is left alone before Chrome is killed. Its storage then has the
// mutex of its tab in both, and the next page waits until that is stale.
const storing = 2 * time.Second

// floorRecovery returns how long a bare Chrome takes to show a QR, and once more on the same
// profile after it was killed.
func floorRecovery(ctx context.Context, b *bench, p *harness.Phone, folder string) (first, next time.Duration, err error) {
	begun := time.Now()
	f, err := startFloor(ctx, b, folder)
	if err != nil {
		return 0, 0, err
	}
	_, err = f.shows(p.URL, qrShown)
	first = time.Since(begun)
	if err == nil {
		err = harness.Pause(ctx, storing)
	}
	f.KillGroup()
	if err == nil {
		next, err = floorStart(ctx, b, p, folder, qrShown)
	}
	return first, next, err
}

// floorStart returns how long a bare Chrome takes until the page shows something.
func floorStart(ctx context.Context, b *bench, p *harness.Phone, folder, expression string) (time.Duration, error) {
	begun := time.Now()
	f, err := startFloor(ctx, b, folder)
	if err != nil {
		return 0, err
	}
	defer f.close()
	_, err = f.shows(p.URL, expression)
	return time.Since(begun), err
}

func oursStart(ctx context.Context, b *bench, p *harness.Phone) (first, next time.Duration, err error) {
	s, err := b.start(ctx, p, b.fresh())
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	body, _, err := s.NextQR(ctx, "")
	if err != nil {
		return 0, 0, err
	}
	first = time.Since(s.StartedAt)
	pid, err := chromeOf(ctx, s)
	if err != nil {
		return 0, 0, err
	}
	if err := harness.Pause(ctx, storing); err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	if err := harness.SignalAll(syscall.SIGKILL, pid); err != nil {
		return 0, 0, err
	}
	_, _, err = s.NextQR(ctx, body)
	return first, time.Since(begun), err
}

// measureWarm links both once, and starts both again. The floor is ready when the
// chats are there.
func measureWarm(ctx context.Context, b *bench, p *harness.Phone) error {
	oursFolder, floorFolder := b.fresh(), b.fresh()
	s, err := b.start(ctx, p, oursFolder)
	if err != nil {
		return err
	}
	if err := errors.Join(p.Link(ctx, s), s.Stop()); err != nil {
		return err
	}
	if err := linkFloor(ctx, b, p, floorFolder); err != nil {
		return err
	}
	var ours, floors []time.Duration
	for range b.rounds {
		took, err := floorStart(ctx, b, p, floorFolder, chatsShown)
		if err != nil {
			return err
		}
		floors = append(floors, took)
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
	b.table.add(ratio("exec to READY, linked", "ms", median(ours), median(floors), 1.1))
	return nil
}

func linkFloor(ctx context.Context, b *bench, p *harness.Phone, folder string) error {
	f, err := startFloor(ctx, b, folder)
	if err != nil {
		return err
	}
	defer f.close() // a clean end, which flushes the profile
	tab, err := f.shows(p.URL, qrShown)
	if err != nil {
		return err
	}
	if _, err := p.Shown(ctx); err != nil {
		return err
	}
	if err := p.Scan(ctx); err != nil {
		return err
	}
	return tab.await(chatsShown)
}

const (
	// links is how many accounts are linked, linkedAtOnce of them at once: what is waited for is mostly time.
	links, linkedAtOnce = 4, 2
	// handling is how long a person takes to scan: the page's first writes to its
	// storage are on disk by then, and Chrome would make the next ones wait.
	handling = 10 * time.Second
)

// measureLink takes the time from the end of the first sync to READY, for which Chrome
// must have written the login to disk.
func measureLink(ctx context.Context, b *bench) error {
	var took []time.Duration
	for range links / linkedAtOnce {
		var pair [linkedAtOnce]time.Duration
		var errs [linkedAtOnce]error
		var linking sync.WaitGroup
		for i := range pair {
			linking.Go(func() { pair[i], errs[i] = linkOnce(ctx, b) })
		}
		linking.Wait()
		if err := errors.Join(errs[:]...); err != nil {
			return err
		}
		took = append(took, pair[:]...)
	}
	b.table.add(absolute("end of the first sync to READY", "ms", median(took), 2000))
	return nil
}

func linkOnce(ctx context.Context, b *bench) (took time.Duration, err error) {
	s, err := b.serve(ctx, simulator.Options{})
	if err != nil {
		return 0, err
	}
	defer s.end(&err)
	if _, _, err := s.NextQR(ctx, ""); err != nil {
		return 0, err
	}
	if err := harness.Pause(ctx, handling); err != nil {
		return 0, err
	}
	if err := s.phone.Scan(ctx); err != nil {
		return 0, err
	}
	var synced time.Time
	err = s.phone.Await(ctx, func(c simulator.Screen) bool {
		synced = c.Since
		return c.Name == "MAIN"
	})
	if err != nil {
		return 0, err
	}
	err = s.AwaitStatus(ctx, "READY")
	return time.Since(synced), err
}

// rotations is how many QRs are followed by each reader.
const rotations = 20

// measureReaders takes the time from the page's change to the new QR on /qr, for each
// reader alone.
func measureReaders(ctx context.Context, b *bench) error {
	for _, r := range []struct {
		reader, profile string
		limit           float64
	}{
		{"dom", "2026-08", 50}, {"modules", "no-data-ref", 250}, {"image", "image-only", 1500}, {"screenshot", "renamed", 1500},
	} {
		took, err := follow(ctx, b, r.reader, r.profile)
		if err != nil {
			return fmt.Errorf("%s: %w", r.reader, err)
		}
		b.table.add(absolute("page's change to /qr, by "+r.reader, "ms", median(took), r.limit))
	}
	return nil
}

func follow(ctx context.Context, b *bench, reader, profile string) (took []time.Duration, err error) {
	file := filepath.Join(b.folder, reader+".json")
	if err := harness.WriteSelectors(ctx, file, reader); err != nil {
		return nil, err
	}
	s, err := b.serve(ctx, simulator.Options{Profile: profile}, "--selectors", file)
	if err != nil {
		return nil, err
	}
	defer s.end(&err)
	body, _, err := s.NextQR(ctx, "")
	if err != nil {
		return nil, err
	}
	for range rotations {
		if err := s.phone.RotateADV(); err != nil {
			return nil, err
		}
		next, png, err := s.NextQR(ctx, body)
		if err != nil {
			return nil, err
		}
		at := time.Now()
		body = next
		payload, err := harness.Decode(png)
		if err != nil {
			return nil, err
		}
		// The page's report may come after the product's.
		var drawn time.Time
		err = s.phone.Await(ctx, func(c simulator.Screen) bool {
			drawn = c.Since
			return c.Payload == payload || c.Offered == payload
		})
		if err != nil {
			return nil, err
		}
		took = append(took, at.Sub(drawn))
	}
	return took, nil
}
