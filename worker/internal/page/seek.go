package page

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	"image/png"
	"strings"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/logging"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/classify"
	"session-manager/worker/internal/page/screenshot"
)

//go:embed picture.js
var pictureJS string

// mostPictures bounds one search.
const mostPictures = 16

// search is one request for a search, and what came of it.
type search struct {
	document int
	readings []classify.Reading
}

// seeker searches pictures for a code, beside the loop: it takes long, and
// needs nothing that the page could break.
type seeker struct {
	page *Page
	want chan int    // capacity 1: the document to search
	done chan search // capacity 1

	// The loop's own.
	busy     bool
	interval time.Duration
	next     time.Time
}

func newSeeker(p *Page) *seeker {
	return &seeker{page: p, want: make(chan int, 1), done: make(chan search, 1), interval: p.t.SearchAgain}
}

// ask starts a search, unless one is running or the last was just now, and
// returns when to ask again. A search in vain makes the next one come later; the
// end of one is a hint.
func (s *seeker) ask(document int, now time.Time) time.Time {
	if s.busy {
		return now.Add(s.page.t.Search)
	}
	if now.Before(s.next) {
		return s.next
	}
	s.busy = true
	s.want <- document
	return now.Add(s.page.t.Search)
}

// take returns the result of a search that has ended.
func (s *seeker) take(document int, now time.Time) []classify.Reading {
	select {
	case result := <-s.done:
		s.busy = false
		if result.document != document {
			return nil
		}
		s.interval = min(2*s.interval, s.page.t.SearchAgainMax)
		for _, r := range result.readings {
			if r.Found {
				s.interval = s.page.t.SearchAgain
			}
		}
		s.next = now.Add(s.interval)
		return result.readings
	default:
		return nil
	}
}

// run searches when asked, until the page's life ends.
func (s *seeker) run() {
	for {
		select {
		case <-s.page.life.Done():
			return
		case document := <-s.want:
			result := search{document: document, readings: s.search()}
			select {
			case s.done <- result:
				s.page.hint()
			case <-s.page.life.Done():
				return
			}
		}
	}
}

// search looks at the pictures in the document, and if there is no code among
// them at the whole page.
func (s *seeker) search() []classify.Reading {
	picture := s.read(selectors.ReaderImage, s.pictures)
	if picture.Found {
		return []classify.Reading{picture, {Reader: selectors.ReaderScreenshot, At: picture.At}}
	}
	return []classify.Reading{picture, s.read(selectors.ReaderScreenshot, s.screenshot)}
}

// read has one reader find a code. The time is that of its beginning: what it
// finds was on the screen at least then.
func (s *seeker) read(reader selectors.Reader, find func(context.Context, func(string) bool) (string, error)) classify.Reading {
	r := classify.Reading{Reader: reader, At: time.Now()}
	through := s.page.lens.Load()
	if !through.uses(reader) {
		return r
	}
	ctx, cancel := context.WithTimeout(s.page.life, s.page.t.Search)
	defer cancel()
	text, err := find(ctx, through.accepts)
	if err != nil && ctx.Err() == nil {
		s.page.log.Debug(logid.ImageSearchFailed, logging.KeyReader, string(reader), logging.KeyError, err)
		r.Err = err
	}
	if code, err := through.shape.Parse(text); err == nil {
		r.Found, r.Code = true, code
	}
	return r
}

func (s *seeker) screenshot(ctx context.Context, accept func(string) bool) (string, error) {
	shot, err := s.page.Screenshot(ctx)
	if err != nil {
		return "", err
	}
	picture, err := decodePNG(shot)
	if err != nil {
		return "", err
	}
	text, _ := screenshot.Read(ctx, picture, accept)
	return text, nil
}

// pictures tries each picture of the document, of its shadow trees, the closed
// ones too, and of those frames that live in the page's process.
func (s *seeker) pictures(ctx context.Context, accept func(string) bool) (string, error) {
	root, err := s.page.tree(ctx)
	if err != nil {
		return "", err
	}
	var last error
	for _, id := range picturesIn(root) {
		picture, err := s.copyOf(ctx, id)
		if err != nil {
			last = err
			continue
		}
		if picture == nil {
			continue
		}
		if text, ok := screenshot.Read(ctx, picture, accept); ok {
			return text, nil
		}
	}
	return "", last
}

// picturesIn returns the first pictures below root, in the order of the
// document.
func picturesIn(root *proto.DOMNode) []proto.DOMBackendNodeID {
	var found []proto.DOMBackendNodeID
	visited := 0
	var walk func(n *proto.DOMNode)
	walk = func(n *proto.DOMNode) {
		if n == nil || len(found) == mostPictures || visited == mostNodes {
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

// copyOf returns what the picture shows, or nil when nobody could scan it.
func (s *seeker) copyOf(ctx context.Context, id proto.DOMBackendNodeID) (image.Image, error) {
	page := s.page.rod.Context(ctx)
	node, err := proto.DOMResolveNode{BackendNodeID: id}.Call(page)
	if err != nil {
		return nil, fmt.Errorf("cannot find picture: %w", err)
	}
	defer func() { _ = proto.RuntimeReleaseObject{ObjectID: node.Object.ObjectID}.Call(page) }() // It dies with its document.
	res, err := proto.RuntimeCallFunctionOn{
		ObjectID: node.Object.ObjectID, FunctionDeclaration: strip(pictureJS, "async function"), ReturnByValue: true, AwaitPromise: true,
	}.Call(page)
	if err != nil {
		return nil, fmt.Errorf("cannot copy picture: %w", err)
	}
	if res.ExceptionDetails != nil {
		return nil, fmt.Errorf("cannot copy picture: %w", exception(res.ExceptionDetails))
	}
	encoded, ok := strings.CutPrefix(res.Result.Value.Str(), "data:image/png;base64,")
	if !ok {
		return nil, nil
	}
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("cannot read picture: %w", err)
	}
	return decodePNG(data)
}

// errTooLarge means that a picture has more pixels than are looked at.
var errTooLarge = errors.New("the picture is too large")

// decodePNG refuses what would take too much memory before it takes it.
func decodePNG(data []byte) (image.Image, error) {
	size, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("cannot read picture: %w", err)
	}
	if size.Width <= 0 || size.Height <= 0 || size.Width > screenshot.MaxPixels/size.Height {
		return nil, errTooLarge
	}
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("cannot read picture: %w", err)
	}
	return picture, nil
}
