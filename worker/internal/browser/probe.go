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

// Probes asks Chrome's parts, which hang independently of each other, whether they
// respond. Each method returns context.DeadlineExceeded when the part does not
// answer, and ErrGone when Chrome is gone; every other error is an answer, too, or means
// that there is nothing to ask. The page can't see any of it.
type Probes struct {
	rod *rod.Browser

	mu      sync.Mutex
	target  proto.TargetTargetID  // guarded by mu
	session proto.TargetSessionID // guarded by mu; with target; may be empty
}

// Main asks the browser process for its version. A nil error proves that the
// process responds; it proves nothing about pages, painting or the network.
func (p *Probes) Main(ctx context.Context) error {
	if _, err := (proto.BrowserGetVersion{}).Call(p.rod.Context(ctx)); err != nil {
		return fmt.Errorf("cannot get the browser's version: %w", err)
	}
	return nil
}

// frameWait is how long a frame may be waited for before a screenshot is asked
// for instead. Frames come 60 times a second.
const frameWait = time.Second

// onFrame answers when the page's next frame is drawn.
const onFrame = "new Promise(done => requestAnimationFrame(() => done(0)))"

// Paint asks for a frame of the page: without the GPU process scripts run and
// answer, and nothing can be painted. A hidden page gets no frames, but
// a screenshot of it can be taken, which costs 50 to 110 ms (measured). A page
// whose main thread hangs fails here too, so ask that first.
func (p *Probes) Paint(ctx context.Context) error {
	page, err := p.page(ctx)
	if err != nil {
		return err
	}
	frame, cancel := context.WithTimeout(ctx, frameWait)
	defer cancel()
	_, err = proto.RuntimeEvaluate{Expression: onFrame, AwaitPromise: true, ReturnByValue: true}.Call(session{p.rod.Context(frame), page})
	if !errors.Is(err, context.DeadlineExceeded) {
		return p.answered("frame", err)
	}
	_, err = proto.PageCaptureScreenshot{Format: proto.PageCaptureScreenshotFormatJpeg}.Call(session{p.rod.Context(ctx), page})
	return p.answered("screenshot", err)
}

// Network asks Chrome's network process for the cookies of a site that does not
// exist. It needs no network: without the process nothing is loaded, regardless of
// the network.
func (p *Probes) Network(ctx context.Context) error {
	page, err := p.page(ctx)
	if err != nil {
		return err
	}
	_, err = proto.NetworkGetCookies{Urls: []string{"http://cookies.invalid/"}}.Call(session{p.rod.Context(ctx), page})
	return p.answered("answer of the network process", err)
}

func (p *Probes) answered(what string, err error) error {
	if err == nil {
		return nil
	}
	// Regardless of what it was, the session may be of no use now.
	p.mu.Lock()
	p.session = ""
	p.mu.Unlock()
	return fmt.Errorf("cannot get a %s: %w", what, err)
}

// page returns a session with the page. It is of the probes' own, so that they share
// nothing with whoever drives the page.
func (p *Probes) page(ctx context.Context) (proto.TargetSessionID, error) {
	list, err := proto.TargetGetTargets{}.Call(p.rod.Context(ctx))
	if err != nil {
		return "", fmt.Errorf("cannot list pages: %w", err)
	}
	target := firstPage(list.TargetInfos)
	if target == "" {
		return "", errors.New("no page is open")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != "" && p.target == target {
		return p.session, nil
	}
	attached, err := proto.TargetAttachToTarget{TargetID: target, Flatten: true}.Call(p.rod.Context(ctx))
	if err != nil {
		return "", fmt.Errorf("cannot attach to page: %w", err)
	}
	p.target, p.session = target, attached.SessionID
	return p.session, nil
}

func firstPage(infos []*proto.TargetTargetInfo) proto.TargetTargetID {
	for _, info := range infos {
		if info.Type == proto.TargetTargetInfoTypePage && info.Subtype == "" {
			return info.TargetID
		}
	}
	return ""
}

// session directs rod's calls to one target.
type session struct {
	*rod.Browser
	id proto.TargetSessionID
}

var _ proto.Sessionable = session{}

// GetSessionID implements proto.Sessionable.
func (s session) GetSessionID() proto.TargetSessionID { return s.id }
