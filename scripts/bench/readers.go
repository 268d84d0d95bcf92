package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// rotations is how many QRs are followed by each reader.
const rotations = 20

// measureReaders takes the time from the page's change to the new QR on /qr, for each
// reader alone.
func measureReaders(ctx context.Context, b *bench) error {
	for _, r := range []struct {
		reader, profile string
		limit           float64
	}{
		{"dom", "2026-08", 50}, {"modules", "modules-only", 50}, {"image", "image-only", 1500}, {"screenshot", "renamed", 1500},
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
