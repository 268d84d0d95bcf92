package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"time"

	"github.com/makiuchi-d/gozxing"
	zxing "github.com/makiuchi-d/gozxing/qrcode"

	"session-manager/scripts/simulator"
)

// rotations is how many codes are followed by each reader.
const rotations = 20

// measureReaders takes the time from the page's change to the new code on /qr,
// for each reader alone.
func (b *bench) measureReaders(ctx context.Context) error {
	for _, r := range []struct {
		reader, profile string
		limit           float64
	}{
		{"dom", "2026-08", 50}, {"modules", "modules-only", 50}, {"image", "image-only", 1500}, {"screenshot", "renamed", 1500},
	} {
		took, err := b.follow(ctx, r.reader, r.profile)
		if err != nil {
			return fmt.Errorf("%s: %w", r.reader, err)
		}
		b.table.Rows = append(b.table.Rows, absolute("page's change to /qr, by "+r.reader, "ms", median(took), r.limit))
	}
	return nil
}

func (b *bench) follow(ctx context.Context, reader, profile string) (took []time.Duration, err error) {
	p, err := openSimulator(simulator.Options{Profile: profile})
	if err != nil {
		return nil, err
	}
	defer p.close()
	folder, err := b.fresh()
	if err != nil {
		return nil, err
	}
	file, err := only(folder, reader)
	if err != nil {
		return nil, err
	}
	s, err := b.start(ctx, p, folder, "--selectors", file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	body, _, err := s.NextQR(ctx, "")
	if err != nil {
		return nil, err
	}
	for range rotations {
		if err := p.RotateADV(); err != nil {
			return nil, err
		}
		next, picture, err := s.NextQR(ctx, body)
		if err != nil {
			return nil, err
		}
		at := time.Now()
		body = next
		login, err := scan(picture)
		if err != nil {
			return nil, err
		}
		// The page's report may come after the product's.
		var drawn time.Time
		err = p.Await(ctx, func(c simulator.Screen) bool {
			drawn = c.Since
			return c.Payload == login || c.Offered == login
		})
		if err != nil {
			return nil, err
		}
		took = append(took, at.Sub(drawn))
	}
	return took, nil
}

// only writes a selectors file with one reader.
func only(folder, reader string) (string, error) {
	content, err := os.ReadFile(selectors)
	if err != nil {
		return "", fmt.Errorf("cannot read the built-in selectors, is this the repository's top folder? %w", err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(content, &all); err != nil {
		return "", fmt.Errorf("cannot read the built-in selectors: %w", err)
	}
	all["readers"] = json.RawMessage(fmt.Sprintf(`{"about": "one alone", "use": [%q]}`, reader))
	if content, err = json.Marshal(all); err != nil {
		return "", fmt.Errorf("cannot encode selectors: %w", err)
	}
	file := filepath.Join(folder, "selectors.json")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return "", fmt.Errorf("cannot write selectors: %w", err)
	}
	return file, nil
}

func scan(picture []byte) (string, error) {
	img, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return "", fmt.Errorf("cannot read the QR: %w", err)
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		return "", fmt.Errorf("cannot read the QR: %w", err)
	}
	result, err := zxing.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_PURE_BARCODE: true})
	if err != nil {
		return "", fmt.Errorf("cannot decode the QR: %w", err)
	}
	return result.GetText(), nil
}
