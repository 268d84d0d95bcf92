// Package search finds a QR code in the images of the page, or in a screenshot of
// it. That takes long, and needs nothing that the page could break.
package search

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/logging"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/classify"
	"session-manager/worker/internal/page/screenshot"
	"session-manager/worker/internal/page/target"
)

// Bounds of one search by one reader. A busy machine needs seconds for what an idle
// one does at once.
const (
	mostImages = 16
	within     = 10 * time.Second
)

// result is what came of a search.
type result struct {
	document *target.Document
	readings []classify.Reading
}

// Searcher searches one page, next to its loop.
type Searcher struct {
	again   time.Duration
	most    time.Duration // of again, after fruitless searches
	target  *target.Target
	log     *slog.Logger
	done    func()
	running *sync.WaitGroup
	found   chan result // capacity 1

	// The loop's own.
	busy     bool
	interval time.Duration
	next     time.Time
}

// New returns the Searcher of a page. It calls done after each search; running
// counts the searches, which end with the page's life. The next search may begin again
// after the last, doubled after each without success up to most.
func New(t *target.Target, log *slog.Logger, again, most time.Duration, done func(), running *sync.WaitGroup) *Searcher {
	return &Searcher{
		again: again, most: most, target: t, log: log, done: done, running: running,
		found: make(chan result, 1), interval: again,
	}
}

// Ask starts a search, unless one is running or the last was just now, and returns
// when to ask again. After a search without success the next one comes later. Ask
// and Take must not be called concurrently.
func (s *Searcher) Ask(document *target.Document, now time.Time) time.Time {
	if s.busy {
		return now.Add(within)
	}
	if now.Before(s.next) {
		return s.next
	}
	s.busy = true
	s.running.Go(func() {
		s.found <- result{document, s.search(document)}
		s.done()
	})
	return now.Add(within)
}

// Take returns the result of a search of the document that has ended.
func (s *Searcher) Take(document *target.Document, now time.Time) []classify.Reading {
	select {
	case r := <-s.found:
		s.busy = false
		if r.document != document {
			return nil
		}
		s.interval = min(2*s.interval, s.most)
		for _, reading := range r.readings {
			if reading.Found {
				s.interval = s.again
			}
		}
		s.next = now.Add(s.interval)
		return r.readings
	default:
		return nil
	}
}

// search decodes the images in the document, and if there is no code among them
// the whole page.
func (s *Searcher) search(document *target.Document) []classify.Reading {
	found := s.read(selectors.ReaderImage, document, s.images)
	if found.Found {
		return []classify.Reading{found, {Reader: selectors.ReaderScreenshot, At: found.At}}
	}
	return []classify.Reading{found, s.read(selectors.ReaderScreenshot, document, s.screenshot)}
}

// finder looks for a text that accept accepts.
type finder func(ctx context.Context, document *target.Document, accept func(string) bool) (string, error)

// read has one reader find a code. The time is that of its start: what it finds
// was on the screen at least then. It was the document's if that is still there.
func (s *Searcher) read(reader selectors.Reader, document *target.Document, find finder) classify.Reading {
	r := classify.Reading{Reader: reader, At: time.Now()}
	set := s.target.Scripts.Load()
	if !set.Uses(reader) {
		return r
	}
	ctx, cancel := context.WithTimeout(s.target.Life, within)
	defer cancel()
	text, err := find(ctx, document, func(text string) bool { _, err := set.Parse(text); return err == nil })
	if err == nil {
		err = document.Check(ctx)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Debug(logid.ImageSearchFailed, logging.KeyReader, string(reader), logging.KeyError, err)
		r.Err = err
	}
	if err != nil {
		return r
	}
	if code, err := set.Parse(text); err == nil {
		r.Found, r.Code = true, code
	}
	return r
}

func (s *Searcher) screenshot(ctx context.Context, document *target.Document, accept func(string) bool) (string, error) {
	decoded, err := shoot(ctx, document.Screenshot)
	if err != nil {
		return "", err
	}
	text, _ := screenshot.Read(ctx, decoded, accept)
	return text, nil
}

// shoot returns what is on the screen, of which take makes a PNG.
func shoot(ctx context.Context, take func(context.Context) ([]byte, error)) (image.Image, error) {
	shot, err := take(ctx)
	if err != nil {
		return nil, err
	}
	return decodePNG(shot)
}

// images tries each image of the document, of its shadow trees, the closed ones
// too, and of the frames of its origin.
func (s *Searcher) images(ctx context.Context, document *target.Document, accept func(string) bool) (string, error) {
	root, err := document.Tree(ctx)
	if err != nil {
		return "", err
	}
	var last error
	for _, id := range imagesIn(root) {
		decoded, err := s.copyOf(ctx, id)
		if err != nil {
			last = err
			continue
		}
		if decoded == nil {
			continue
		}
		if text, ok := screenshot.Read(ctx, decoded, accept); ok {
			return text, nil
		}
	}
	return "", last
}

// imagesIn returns the first images below root, in the order of the document.
func imagesIn(root *proto.DOMNode) []proto.DOMBackendNodeID {
	var found []proto.DOMBackendNodeID
	visited := 0
	var walk func(n *proto.DOMNode)
	walk = func(n *proto.DOMNode) {
		if n == nil || len(found) == mostImages || visited == target.MostNodes {
			return
		}
		visited++
		switch strings.ToLower(n.NodeName) {
		case "canvas", "img", "svg":
			found = append(found, n.BackendNodeID)
			return
		}
		for _, child := range n.ShadowRoots {
			walk(child)
		}
		walk(n.ContentDocument)
		for _, child := range n.Children {
			walk(child)
		}
	}
	walk(root)
	return found
}

// copyOf returns what an image shows, or nil when nobody could scan it.
func (s *Searcher) copyOf(ctx context.Context, id proto.DOMBackendNodeID) (image.Image, error) {
	element, err := s.target.Element(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("cannot find image: %w", err)
	}
	defer element.Release(ctx)
	var seen sight
	if err := element.Apply(ctx, &seen, s.target.Scripts.Load().Image); err != nil {
		return nil, fmt.Errorf("cannot copy image: %w", err)
	}
	seen.uncover(ctx, s.target, id, everywhere)
	return seen.copy()
}

// decodePNG refuses what would take too much memory before it takes it.
func decodePNG(data []byte) (image.Image, error) {
	size, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("cannot read image: %w", err)
	}
	if size.Width <= 0 || size.Height <= 0 || size.Width > screenshot.MaxPixels/size.Height {
		return nil, fmt.Errorf("cannot read image: %w", target.ErrTooLarge)
	}
	decoded, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("cannot read image: %w", err)
	}
	return decoded, nil
}
