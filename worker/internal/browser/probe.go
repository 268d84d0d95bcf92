package browser

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/proto"
)

// Chrome's parts hang independently of each other, so each has a probe of its
// own. All of them return context.DeadlineExceeded when the part does not answer,
// ErrGone when Chrome is gone, and ErrNoPage when there is nothing to ask; every
// other error is an answer, too. None of them can be seen by the page.

// ErrNoPage means that no page is open, or that it is being replaced.
var ErrNoPage = errors.New("no page is open")

// Probe asks the browser process for its version. A nil error proves that the
// process turns; it proves nothing about pages, painting or the network.
func (b *Browser) Probe(ctx context.Context) error {
	if _, err := (proto.BrowserGetVersion{}).Call(b.rod.Context(ctx)); err != nil {
		return fmt.Errorf("cannot get the browser's version: %w", err)
	}
	return nil
}

// frameWait is how long a frame may be waited for before a screenshot is asked
// for instead. Frames come 60 times a second.
const frameWait = time.Second

// onFrame answers when the page's next frame is drawn.
const onFrame = "new Promise(done => requestAnimationFrame(() => done(0)))"

// ProbePaint asks for a frame of the page: without the GPU process scripts run
// and answer, and nothing can be painted. A page that is not shown gets no
// frames, but can be photographed, which costs 50 to 110 ms (measured). A page
// whose main thread hangs fails here too, so ask that first.
func (b *Browser) ProbePaint(ctx context.Context) error {
	page, err := b.openPage(ctx)
	if err != nil {
		return err
	}
	frame, cancel := context.WithTimeout(ctx, frameWait)
	defer cancel()
	_, err = proto.RuntimeEvaluate{Expression: onFrame, AwaitPromise: true, ReturnByValue: true}.Call(page.within(frame))
	if !errors.Is(err, context.DeadlineExceeded) {
		return b.answered("frame", err)
	}
	_, err = proto.PageCaptureScreenshot{Format: proto.PageCaptureScreenshotFormatJpeg}.Call(page.within(ctx))
	return b.answered("screenshot", err)
}

// ProbeNetwork asks Chrome's network process for the cookies of a site that does
// not exist. It needs no network: without the process nothing is loaded, whatever
// the network is like.
func (b *Browser) ProbeNetwork(ctx context.Context) error {
	page, err := b.openPage(ctx)
	if err != nil {
		return err
	}
	_, err = proto.NetworkGetCookies{Urls: []string{"http://cookies.invalid/"}}.Call(page.within(ctx))
	return b.answered("answer of the network process", err)
}

func (b *Browser) answered(what string, err error) error {
	if err == nil {
		return nil
	}
	// Whatever it was, the session may be of no use any more.
	b.probed.forget()
	return fmt.Errorf("cannot get a %s: %w", what, err)
}

// probed is the session with the page that probes use: one of their own, so that
// they share nothing with whoever drives the page.
type probed struct {
	mu      sync.Mutex
	target  proto.TargetTargetID  // guarded by mu
	session proto.TargetSessionID // guarded by mu; empty while there is none
}

func (p *probed) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.session = ""
}

// openPage returns a session with the page.
func (b *Browser) openPage(ctx context.Context) (session, error) {
	list, err := proto.TargetGetTargets{}.Call(b.rod.Context(ctx))
	if err != nil {
		return session{}, fmt.Errorf("cannot list pages: %w", err)
	}
	target := firstPage(list.TargetInfos)
	if target == "" {
		return session{}, ErrNoPage
	}
	b.probed.mu.Lock()
	defer b.probed.mu.Unlock()
	if b.probed.session != "" && b.probed.target == target {
		return session{rod: b.rod, id: b.probed.session}, nil
	}
	attached, err := proto.TargetAttachToTarget{TargetID: target, Flatten: true}.Call(b.rod.Context(ctx))
	if err != nil {
		return session{}, fmt.Errorf("cannot attach to page: %w", err)
	}
	b.probed.target, b.probed.session = target, attached.SessionID
	return session{rod: b.rod, id: attached.SessionID}, nil
}

func firstPage(infos []*proto.TargetTargetInfo) proto.TargetTargetID {
	for _, info := range infos {
		if info.Type == proto.TargetTargetInfoTypePage && info.Subtype == "" {
			return info.TargetID
		}
	}
	return ""
}

// session is rod's client for one session with a target.
type session struct {
	rod *rod.Browser
	ctx context.Context // rod takes it from its client
	id  proto.TargetSessionID
}

var (
	_ proto.Client      = session{}
	_ proto.Sessionable = session{}
	_ proto.Contextable = session{}
)

func (s session) within(ctx context.Context) session {
	s.ctx = ctx
	return s
}

// Call implements proto.Client.
func (s session) Call(ctx context.Context, id, method string, params any) ([]byte, error) {
	return s.rod.Call(ctx, id, method, params)
}

// GetSessionID implements proto.Sessionable.
func (s session) GetSessionID() proto.TargetSessionID { return s.id }

// GetContext implements proto.Contextable.
func (s session) GetContext() context.Context { return s.ctx }
