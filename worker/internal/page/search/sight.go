package search

import (
	"context"
	"encoding/base64"
	"fmt"
	"image"
	"image/draw"
	"math"
	"slices"
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

// point is a place in an image, in parts of its width and height.
type point struct{ x, y float64 }

// Points of an image at which something that lies over it is looked for. Its middle is not among
// them: a code may have a logo there.
var (
	corners    = []point{{.15, .15}, {.85, .15}, {.15, .85}, {.85, .85}}
	edges      = []point{{.5, .15}, {.15, .5}, {.85, .5}, {.5, .85}}
	everywhere = slices.Concat(corners, edges)
)

// uncover drops the bitmap when the screen shows something else at one of the points.
func (s *sight) uncover(ctx context.Context, t *target.Target, id proto.DOMBackendNodeID, points []point) {
	if s.Bitmap != "" && s.covered(ctx, t, id, points) {
		s.Bitmap = ""
	}
}

// covered reports whether something lies over the image at one of the points that the mouse goes through,
// which the page's own functions therefore don't find.
func (s sight) covered(ctx context.Context, t *target.Target, id proto.DOMBackendNodeID, points []point) bool {
	over := func(p point) bool {
		top, err := t.At(ctx, int(s.Left+s.ScrollX+p.x*s.Width), int(s.Top+s.ScrollY+p.y*s.Height))
		return err != nil || top != id && !t.Contains(ctx, id, top)
	}
	if len(points) < len(everywhere) { // nobody waits for this, and goroutines cost more
		return slices.ContainsFunc(points, over)
	}
	var covered atomic.Bool
	var asked sync.WaitGroup // a busy page answers all of them at once
	for _, p := range points {
		asked.Go(func() {
			if over(p) {
				covered.Store(true)
			}
		})
	}
	asked.Wait()
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
