package search

import (
	"context"
	"image"
	"log/slog"
	"slices"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/classify"
	"session-manager/worker/internal/page/screenshot"
	"session-manager/worker/internal/page/target"
)

// Durations of checks.
const (
	// drawing is how long a page may take to draw a payload that it already holds.
	drawing = 300 * time.Millisecond
	// checkAgain is how long a check counts while nothing seems to change. It ends with an
	// observation that is made anyway. What the mouse goes through, and covers only a part of
	// the picture, may be noticed by the second check.
	checkAgain = 2 * rpc.QREvidence
	// retry is how soon a picture is checked again that does not show the payload, doubled
	// after each failure up to retryMax.
	retry, retryMax = 25 * time.Millisecond, 2 * time.Second
)

// mostKept is the longest bitmap that is remembered, in bytes. One of a code is shorter.
const mostKept = 64 << 10

// Checker finds out whether a person could scan what the page holds as a string: whether
// its picture on the screen encodes it. The bitmap of the picture is enough where
// nothing can stand between it and the screen; otherwise a screenshot decides. A frame of
// another origin may be in that: it can't draw a payload that only the page knows.
type Checker struct {
	searcher *Searcher // finds pictures that belong to no known element
	done     func()
	tasks    chan task    // capacity 1
	found    chan verdict // capacity 1

	// The loop's own.
	busy    bool
	quiet   bool    // the running check wakes nobody if it finds what the last one found
	checked subject // by the running check, or the last
	current subject
	since   time.Time // when its payload was first found
	last    verdict
	fails   int // of the last subject, in a row

	// What follows is Run's: the picture that was last looked at, and the
	// bitmap that was last read as a payload.
	picture picture
	edges   bool // the last points were these
	proven  struct {
		payload rpc.QRPayload
		bitmap  string
	}
}

// picture is the element that shows the code of a document.
type picture struct {
	document *target.Document
	scripts  *target.Scripts
	look     *target.Object // made of Scripts.Look; nil before the first
	node     proto.DOMBackendNodeID
}

// subject is what is checked: a payload, and how its picture looked.
type subject struct {
	document *target.Document
	reader   selectors.Reader
	payload  rpc.QRPayload
	look     string
}

// sameCode reports whether both are of the same payload.
func (s subject) sameCode(as subject) bool {
	s.look = as.look
	return s == as
}

// task is a check to make.
type task struct {
	subject
	quiet, bare bool // as the last verdict was
}

// verdict is the result of a check.
type verdict struct {
	subject
	// unseen is why nobody could scan the payload; empty means that somebody could.
	unseen string
	// failed means that the check has no result.
	failed bool
	// at is when the check began, and took how long it went on.
	at   time.Time
	took time.Duration
}

// bare reports whether the picture of a subject was looked at, and could be scanned.
func (v verdict) bare(s subject) bool { return v.subject == s && v.unseen == "" && !v.failed }

// NewChecker returns the Checker of a page. It calls done after each check that may
// have found something else than the last.
func NewChecker(t *target.Target, log *slog.Logger, done func()) *Checker {
	return &Checker{searcher: &Searcher{target: t, log: log}, done: done, tasks: make(chan task, 1), found: make(chan verdict, 1)}
}

// Run makes the checks until ctx ends. One goroutine makes all of them, as a new one's stack would
// grow with each.
func (c *Checker) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-c.tasks:
			start := time.Now()
			unseen, err := c.check(t.subject, c.points(t.bare))
			if err != nil {
				unseen = "it could not be looked at"
			}
			c.found <- verdict{t.subject, unseen, err != nil, start, time.Since(start)}
			if !t.quiet || unseen != "" { // otherwise it is as before
				c.done()
			}
		}
	}
}

// Check marks the string that the page holds as seen, or as one that nobody could scan,
// by the checks that have ended, and starts another one if that is due. Look is the
// observation's. It returns when to observe again at the latest; zero means no
// preference.
func (c *Checker) Check(o *classify.Observation, document *target.Document, look string, now time.Time) time.Time {
	c.take()
	i := slices.IndexFunc(o.Readings, func(r classify.Reading) bool {
		return r.Found && (r.Reader == selectors.ReaderDOM || r.Reader == selectors.ReaderModules)
	})
	if i < 0 || document == nil {
		return time.Time{}
	}
	r := &o.Readings[i]
	next := subject{document, r.Reader, r.Code.Whole, look}
	if r.Reader != selectors.ReaderDOM {
		next.look = ""
	}
	if !next.sameCode(c.current) {
		c.since, c.fails = now, 0
	}
	c.current = next
	if c.last.sameCode(next) {
		switch {
		case c.last.unseen == "":
			r.Seen = true
		case now.Sub(c.since) >= drawing:
			*r = r.Unseen(c.last.unseen)
		}
	}
	return c.schedule(now)
}

// take accepts the verdict of a check that has ended.
func (c *Checker) take() {
	select {
	case v := <-c.found:
		// On a busy machine a check may end too late; the last result stands until the next.
		if v.failed && c.last.unseen == "" && !c.last.failed && c.last.sameCode(v.subject) {
			v.unseen = ""
		}
		c.busy, c.last = false, v
		c.fails++
		if v.unseen == "" {
			c.fails = 0
		}
	default:
	}
}

// schedule starts a check of the current subject, or returns when it is due. What the
// last one took is waited for twice, so that a page that changes all the time
// gets no more than a third of a processor.
func (c *Checker) schedule(now time.Time) time.Time {
	if c.busy {
		if c.quiet && c.checked != c.current { // which nobody checks until this check was taken
			return now.Add(retry)
		}
		return time.Time{}
	}
	ended := c.last.at.Add(c.last.took)
	due := ended.Add(min(2*c.last.took, retryMax))
	if c.last.subject == c.current {
		if c.last.unseen == "" {
			due = c.last.at.Add(checkAgain)
		} else if pause := ended.Add(min(retry<<min(c.fails, 10), retryMax)); pause.After(due) {
			due = pause
		}
	}
	if now.Before(due) {
		return due
	}
	c.busy, c.checked, c.quiet = true, c.current, c.last.subject == c.current && c.last.unseen == ""
	c.tasks <- task{c.current, c.quiet, c.last.bare(c.current)}
	return time.Time{}
}

// check returns why nobody could scan the payload, or nothing. It looks for what lies over these
// points of a known element.
func (c *Checker) check(s subject, points []point) (string, error) {
	ctx, cancel := context.WithTimeout(c.searcher.target.Life, within)
	defer cancel()
	var unseen string
	var err error
	if s.reader == selectors.ReaderDOM {
		unseen, err = c.known(ctx, s.document, s.payload, points)
	} else {
		unseen, err = c.anywhere(ctx, s.document, s.payload)
	}
	if err == nil {
		err = s.document.Check(ctx)
	}
	if err != nil && ctx.Err() == nil {
		c.searcher.log.Debug(logid.ImageSearchFailed, logging.KeyReader, string(s.reader), logging.KeyError, err)
	}
	return unseen, err
}

// points returns where to look for what lies over the picture: its corners and its edges in turns
// if it was bare a moment ago, since each point costs Chrome and the worker a call.
func (c *Checker) points(bare bool) []point {
	if !bare {
		return everywhere
	}
	c.edges = !c.edges
	if c.edges {
		return edges
	}
	return corners
}

// anywhere looks for the picture of a payload that belongs to no known element.
func (c *Checker) anywhere(ctx context.Context, document *target.Document, payload rpc.QRPayload) (string, error) {
	accept := func(text string) bool { return text == string(payload) }
	if text, _ := c.searcher.images(ctx, document, accept); accept(text) { // Where the document can't be read, the screen can.
		return "", nil
	}
	shot, err := shoot(ctx, c.searcher.target.Screenshot)
	if err != nil {
		return "", err
	}
	if _, ok := screenshot.Read(ctx, shot, accept); ok {
		return "", nil
	}
	return "no picture on the screen encodes it", nil
}

// known looks at the picture of the known element, and for what lies over these points of it.
func (c *Checker) known(ctx context.Context, document *target.Document, payload rpc.QRPayload, points []point) (string, error) {
	seen, err := c.see(ctx, document)
	switch {
	case err != nil:
		c.picture.document = nil // so that it is looked for again
		return "", err
	case seen.Hidden != "":
		return seen.Hidden, nil
	case seen.Shown != string(payload):
		return gone, nil
	}
	seen.uncover(ctx, c.searcher.target, c.picture.node, points)
	return c.shows(ctx, seen.sight, payload)
}

// pictureSeen is what look.js sees.
type pictureSeen struct {
	sight
	Shown string
	Moved bool
}

// see looks at the picture of the document's code. The script stays in the document: to make
// it costs more than all else.
func (c *Checker) see(ctx context.Context, document *target.Document) (s pictureSeen, err error) {
	p, scripts := &c.picture, c.searcher.target.Scripts.Load()
	if p.document != document || p.scripts != scripts {
		if p.look != nil {
			p.look.Release(ctx)
		}
		look, err := document.NewIsolated(ctx, scripts.Look)
		if err != nil || look == nil {
			return s, err
		}
		*p = picture{document: document, scripts: scripts, look: look}
	}
	if err := p.look.Invoke(ctx, &s, "see"); err != nil || !s.Moved {
		return s, err
	}
	element, err := p.look.Derive(ctx, "function () { return this.element; }")
	if err != nil {
		return s, err
	}
	defer element.Release(ctx)
	p.node, err = element.Node(ctx)
	return s, err
}

// shows returns why a picture that is in sight does not show the payload, or nothing.
func (c *Checker) shows(ctx context.Context, seen sight, payload rpc.QRPayload) (string, error) {
	if seen.Bitmap != "" && c.proven.payload == payload && c.proven.bitmap == seen.Bitmap {
		return "", nil
	}
	picture, err := seen.copy()
	if err != nil || picture == nil { // Perhaps the screen shows it all the same.
		seen.Bitmap = ""
		picture, err = seen.onScreen(ctx, c.searcher.target)
	}
	if err != nil {
		return "", err
	}
	unseen := compare(ctx, picture, payload)
	if unseen == "" && len(seen.Bitmap) <= mostKept {
		c.proven.payload, c.proven.bitmap = payload, seen.Bitmap
	}
	return unseen, nil
}

// gone is why nobody could scan a payload that the page has replaced.
const gone = "it has left the page"

// compare returns why a picture is not that of the payload, or nothing.
func compare(ctx context.Context, picture image.Image, payload rpc.QRPayload) string {
	text, ok := screenshot.Read(ctx, picture, func(string) bool { return true })
	switch {
	case !ok:
		return "no code can be read in it"
	case text != string(payload):
		return "it encodes something else"
	}
	return ""
}
