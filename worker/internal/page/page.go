// Package page reads what the WhatsApp Web page shows: the state of the session
// and the login string of its QR code. It owns one page target of a Chrome that
// somebody else started, keeps it alive, and tells what it sees. It knows CDP
// and documents, not processes; what it looks for is package selectors's, and
// what follows from it is package judge's.
package page

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/classify"
)

// Options say which page to open, and where to tell what it shows.
type Options struct {
	// Browser is connected, and emulates no device.
	Browser *rod.Browser
	// URL is the address to open, and to come back to.
	URL string
	// Disguise, if there is one, is applied to the page before it goes anywhere.
	Disguise func(context.Context, *rod.Page) error
	// Selectors is the file that says what to look for; empty means the one
	// built in. One that is not valid is as good as an empty one.
	Selectors []byte
	// Emit is called with each event, never by two goroutines at once. It must
	// return soon.
	Emit func(rpc.EventBody)
	// Logger gets what a person may want to know. Login strings never reach it.
	Logger  *slog.Logger
	Timings Timings
	// DeadlineFactor is for the answers of the page.
	DeadlineFactor rpc.DeadlineFactor
}

// Page is the one page of a browser. Open makes it and Run ends it.
type Page struct {
	o     Options
	log   *slog.Logger
	t     Timings
	judge classify.Classifier
	lens  atomic.Pointer[compiled]

	rod  *rod.Page
	main proto.PageFrameID
	self proto.TargetTargetID
	// failure is why the last navigation reached nothing, empty if it did. It is Open's,
	// and then Run's.
	failure reason.Code

	// life ends all goroutines of the page; wg waits for them.
	life context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup

	// dom serialises the reading of whole documents.
	dom sync.Mutex

	signals signals
	chores  chan chore
	views   *views
	// commands holds one token, of the command under way; busy says that there
	// is one.
	commands chan struct{}
	busy     atomic.Bool
	// diagnoses holds one token, too.
	diagnoses chan struct{}

	// base is the origin of lastGood: nanoseconds at which the main thread last
	// answered, 0 for never.
	base     time.Time
	lastGood atomic.Int64
	// lastFrame is when something last came over a websocket of the document,
	// in the same way.
	lastFrame atomic.Int64
}

// Open takes a blank page target of the browser or makes one, closes every
// other, and navigates to the address. It is bounded by ctx and Timings.Open.
// That the address can't be reached, or answers with an error, is none of its
// errors: Run tells it, and loads the page again. Its errors carry a reason. After
// success Run must be called, which also releases what Open took.
func Open(ctx context.Context, o Options) (*Page, error) {
	p, err := prepare(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.t.Open)
	defer cancel()
	p.life, p.end = context.WithCancel(context.WithoutCancel(ctx))
	release := context.AfterFunc(ctx, p.end) // rod's own calls know only life
	if err = p.open(ctx); err == nil && !release() {
		err = context.Cause(ctx)
	}
	if err != nil {
		p.close()
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		if reason.Of(err, "") == "" {
			err = reason.Wrap(reason.PageLoadFailed, err)
		}
		return nil, err
	}
	return p, nil
}

// prepare makes the parts that need no browser.
func prepare(o Options) (*Page, error) {
	if o.Browser == nil || o.Emit == nil || o.URL == "" {
		return nil, errors.New("cannot open page: browser, address and emit are needed")
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	t := o.Timings.withDefaults().stretched(o.DeadlineFactor)
	l, err := parseLens(o.Selectors)
	if err != nil {
		log.Warn(logid.SelectorsRejected, logging.KeyError, err)
		if l, err = parseLens(nil); err != nil {
			return nil, err
		}
	}
	p := &Page{
		o: o, log: log, t: t, judge: classify.New(t.Judge),
		signals: newSignals(), chores: make(chan chore, 16), base: time.Now(),
		views: newViews(), commands: make(chan struct{}, 1), diagnoses: make(chan struct{}, 1),
	}
	p.lens.Store(l)
	return p, nil
}

func (p *Page) open(ctx context.Context) error {
	p.o.Emit(rpc.PhaseChanged{Phase: rpc.PhaseNavigate})
	browser := p.o.Browser.Context(p.life)
	target, others, err := takeTarget(ctx, p.o.Browser)
	if err != nil {
		return err
	}
	if p.rod, err = browser.PageFromTarget(target); err != nil {
		return fmt.Errorf("cannot attach to page: %w", err)
	}
	p.self, p.main = p.rod.TargetID, p.rod.FrameID
	events := browser.Event()
	p.wg.Go(func() { p.listen(events) })
	p.wg.Go(p.doChores)
	for _, other := range others {
		p.closeTarget(other)
	}
	if err := p.dress(ctx); err != nil {
		return err
	}
	// An address that can't be reached, or answers with an error, is loaded again by Run:
	// a new Chrome would find nothing else.
	return p.navigate(ctx)
}

// dress makes the page visible to itself, and applies the disguise.
func (p *Page) dress(ctx context.Context) error {
	page := p.rod.Context(ctx)
	// A page that takes itself for hidden waits five seconds before it connects.
	if err := (proto.EmulationSetFocusEmulationEnabled{Enabled: true}).Call(page); err != nil {
		return fmt.Errorf("cannot emulate focus: %w", err)
	}
	// The Runtime domain stays off: a page can tell that it is on. Log brings
	// what the browser itself has to complain of.
	if err := (proto.LogEnable{}).Call(page); err != nil {
		return fmt.Errorf("cannot listen to the log: %w", err)
	}
	// Of the network only the frames of the page's connection are of interest;
	// nothing of what is loaded is kept for us.
	if err := (proto.NetworkEnable{MaxTotalBufferSize: new(0), MaxResourceBufferSize: new(0)}).Call(page); err != nil {
		return fmt.Errorf("cannot listen to the network: %w", err)
	}
	if p.o.Disguise == nil {
		return nil
	}
	if err := p.o.Disguise(ctx, page); err != nil {
		return fmt.Errorf("cannot disguise page: %w", err)
	}
	return nil
}

// takeTarget returns a page target that is still blank, or a new one, and all
// other page targets: Chrome restores the tabs of a profile, and a second tab
// of the same site starves the first.
func takeTarget(ctx context.Context, browser *rod.Browser) (proto.TargetTargetID, []proto.TargetTargetID, error) {
	b := browser.Context(ctx)
	list, err := proto.TargetGetTargets{}.Call(b)
	if err != nil {
		return "", nil, fmt.Errorf("cannot list targets: %w", err)
	}
	var taken proto.TargetTargetID
	var others []proto.TargetTargetID
	for _, info := range list.TargetInfos {
		switch {
		case !isPage(info):
		case taken == "" && info.URL == "about:blank":
			taken = info.TargetID
		default:
			others = append(others, info.TargetID)
		}
	}
	if taken != "" {
		return taken, others, nil
	}
	made, err := proto.TargetCreateTarget{URL: "about:blank"}.Call(b)
	if err != nil {
		return "", nil, fmt.Errorf("cannot create page: %w", err)
	}
	return made.TargetID, others, nil
}

func isPage(info *proto.TargetTargetInfo) bool {
	return info.Type == proto.TargetTargetInfoTypePage && info.Subtype == ""
}

// close ends the page's goroutines and waits for them. The target stays: it
// ends with its browser.
func (p *Page) close() {
	p.end()
	p.wg.Wait()
}

// Screenshot returns a PNG of what the page shows.
func (p *Page) Screenshot(ctx context.Context) ([]byte, error) {
	shot, err := proto.PageCaptureScreenshot{Format: proto.PageCaptureScreenshotFormatPng}.Call(p.rod.Context(ctx))
	if err != nil {
		return nil, fmt.Errorf("cannot take screenshot: %w", err)
	}
	return shot.Data, nil
}

// MainThreadAge is how long ago the page's main thread last answered, -1 if it
// never has. It is safe for concurrent use.
func (p *Page) MainThreadAge() time.Duration {
	at := p.lastGood.Load()
	if at == 0 {
		return -1
	}
	return time.Since(p.base) - time.Duration(at)
}
