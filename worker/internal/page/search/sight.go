package search

import (
	"context"
	"encoding/base64"
	"fmt"
	"image"
	"image/draw"
	"math"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/worker/internal/page/target"
)

// sight is how tools.js sees an image: why nobody can see it, where it is in the
// window, and what it holds, as a data URL, if that is what is on the screen.
type sight struct {
	Hidden, Bitmap           string
	Left, Top, Width, Height float64
	InnerWidth               float64
	ScrollX, ScrollY         float64
}

// copy returns what the bitmap holds, or nil without one.
func (s sight) copy() (image.Image, error) {
	encoded, ok := strings.CutPrefix(s.Bitmap, "data:image/png;base64,")
	if !ok {
		return nil, nil
	}
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("cannot read image: %w", err)
	}
	return decodePNG(data)
}

// uncover drops the bitmap when the screen shows something else.
func (s *sight) uncover(ctx context.Context, t *target.Target, id proto.DOMBackendNodeID) {
	if s.Bitmap != "" && s.covered(ctx, t, id) {
		s.Bitmap = ""
	}
}

// covered reports whether something lies over the image that the mouse goes through,
// which the page's own functions therefore don't find.
func (s sight) covered(ctx context.Context, t *target.Target, id proto.DOMBackendNodeID) bool {
	var covered atomic.Bool
	var points sync.WaitGroup
	for _, p := range [][2]float64{{.15, .15}, {.5, .15}, {.85, .15}, {.15, .5}, {.85, .5}, {.15, .85}, {.5, .85}, {.85, .85}} {
		points.Go(func() {
			top, err := t.At(ctx, int(s.Left+s.ScrollX+p[0]*s.Width), int(s.Top+s.ScrollY+p[1]*s.Height))
			if err != nil || top != id && !t.Contains(ctx, id, top) {
				covered.Store(true)
			}
		})
	}
	points.Wait()
	return covered.Load()
}

// onScreen returns what the screen shows where the image is, with nothing around it.
func (s sight) onScreen(ctx context.Context, t *target.Target) (image.Image, error) {
	shot, err := shoot(ctx, t.Screenshot)
	if err != nil {
		return nil, err
	}
	scale := float64(shot.Bounds().Dx()) / math.Max(1, s.InnerWidth)
	at := func(f float64) int { return int(math.Round(f * scale)) }
	box := image.Rect(at(s.Left), at(s.Top), at(s.Left+s.Width), at(s.Top+s.Height)).Intersect(shot.Bounds())
	part := image.NewRGBA(box)
	draw.Draw(part, box, shot, box.Min, draw.Src)
	return part, nil
}
