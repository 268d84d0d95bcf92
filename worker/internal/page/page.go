// Package page keeps the WhatsApp Web page of a Chrome alive, and reports what it
// shows: the state of the session and the payload of its QR code. It knows CDP
// and documents, not processes.
//
// Each observation of the page is evaluated by package observe and classified by package classify, whose CATALOGUE.md lists what
// the page can do to a session and what is done about it. Below that the loop of
// this package deals with what no observation can show:
//
//   - The page's process dies (page_crashed): the page is loaded again; the fourth
//     time within ten minutes needs a new Chrome.
//   - The main thread hangs (page_hung), or broken language functions make the
//     observer fail (page_unrecognised), three times in a row: its script is stopped
//     and the page loaded again. If its process is frozen, or the page hangs again
//     before it was observed once, a new Chrome is needed.
//   - The page or the connection to Chrome is closed: a new Chrome is needed.
//   - The page goes to another origin (wrong_origin), by a redirect or a script of its
//     own: nothing of that document is read, nothing is typed into it, and the page is
//     loaded again. Whose a document is, package target learns from its isolated world.
//     Frames of other origins are not searched for images, and a page that has one is
//     not searched by screenshots.
//   - A dialog, which holds up every script, is dismissed; other pages of the
//     browser are closed (package events).
//   - The modules are late, missing or throw: the DOM is read, and the modules are
//     asked again at each observation. When the page reloads itself, the scripts
//     are installed again; when it does so faster than it can be observed, that is
//     reported, and the page is neither hung nor broken.
//   - The page believes that it is hidden: its focus is emulated (package target).
//   - The page is huge, lies, or floods the worker: every text, outline, image,
//     message and wait is bounded.
package page

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-rod/rod"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/classify"
	"session-manager/worker/internal/page/command"
	"session-manager/worker/internal/page/diagnose"
	"session-manager/worker/internal/page/events"
	"session-manager/worker/internal/page/inbox"
	"session-manager/worker/internal/page/message"
	"session-manager/worker/internal/page/observe"
	"session-manager/worker/internal/page/target"
)

// Options say which page to open, and where to report what it shows.
type Options struct {
	// Browser is connected, and emulates no device.
	Browser *rod.Browser
	// URL is the address to open, and to come back to. Documents of other origins are
	// neither read nor acted in.
	URL string
	// Disguise, if there is one, is applied to the page before it navigates.
	Disguise func(context.Context, *rod.Page) error
	// Scripts are those of the selectors file.
	Scripts Scripts
	// Stopped reports whether a process of the browser is stopped, so that what the page
	// shows proves nothing. Nil stands for no.
	Stopped func() bool
	// Emit is called with each event, by several goroutines. It must return soon.
	Emit func(rpc.EventBody)
	// Logger gets what a person may want to know. QR payloads never reach it.
	Logger  *slog.Logger
	Timings Timings
	// Receive allows messages that arrive to leave the page.
	Receive bool
	// DeadlineFactor gives the page more time to load and to answer.
	DeadlineFactor rpc.DeadlineFactor
}

// Page is the one page of a browser. Open makes it and Run ends it.
type Page struct {
	o         Options
	t         Timings
	log       *slog.Logger
	target    *target.Target
	signals   *events.Signals
	views     *observe.Latest
	commands  *command.Commands
	messages  *message.Messages
	inbox     *inbox.Inbox
	passkeys  *command.Passkeys
	diagnoser *diagnose.Diagnoser
	// failure is why the last navigation reached nothing. It is Open's, and then Run's.
	failure classify.Failure
	// answered is when the main thread last answered; nil means never.
	answered atomic.Pointer[time.Time]
	// end ends all goroutines of the page; running waits for them.
	end     context.CancelFunc
	running sync.WaitGroup
}

// Scripts waits for what Compile makes.
type Scripts func() (*target.Scripts, error)

// Compile makes the scripts of a selectors file in the background, which takes 10 ms. An empty file
// means the built-in one, which is also used instead of one that is not valid.
func Compile(selectors []byte, log *slog.Logger) Scripts {
	compile := sync.OnceValues(func() (*target.Scripts, error) {
		scripts, err := target.Compile(selectors)
		if err == nil || len(selectors) == 0 {
			return scripts, err
		}
		log.Warn(logid.SelectorsRejected, logging.KeyError, err)
		return target.Compile(nil)
	})
	go func() { _, _ = compile() }()
	return compile
}

// Open takes a blank page target of the browser or makes one, closes every
// other, and navigates to the address. It is bounded by ctx and Timings.Open.
// It does not fail when the address can't be reached, or answers with an error: Run
// reports that, and loads the page again. Its errors carry a reason. After success
// Run must be called, which also releases what Open took.
func Open(ctx context.Context, o Options) (*Page, error) {
	if o.Browser == nil || o.Emit == nil || o.URL == "" || o.Logger == nil || o.Scripts == nil {
		return nil, errors.New("cannot open page: browser, address, emit, scripts and logger are needed")
	}
	timings := o.Timings.withDefaults().stretched(o.DeadlineFactor)
	p := &Page{o: o, log: o.Logger, t: timings, views: observe.NewLatest(timings.Settle)}
	scripts, err := o.Scripts()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.t.Open)
	defer cancel()
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	p.end = end
	release := context.AfterFunc(ctx, end) // rod's own calls know only life
	err = p.open(ctx, life, scripts)
	if err == nil && !release() {
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

func (p *Page) open(ctx, life context.Context, scripts *target.Scripts) error {
	p.o.Emit(rpc.PhaseChanged{Phase: rpc.PhaseNavigate})
	t, others, err := target.Open(ctx, life, p.o.Browser, scripts, p.o.URL)
	if err != nil {
		return err
	}
	p.target = t
	p.signals = events.NewSignals(t)
	tidier := events.NewTidier(p.o.Browser.Context(life), t, p.log, p.t.Call, &p.running)
	p.diagnoser = diagnose.New(t, p.log)
	p.commands = command.New(t, p.views, p.signals.Hint, p.log, p.t.Answer, p.t.Call)
	p.messages = message.New(message.Options{
		Target: t, Views: p.views, News: p.signals.News, Emit: p.o.Emit, Log: p.log, Answer: p.t.Answer, Call: p.t.Call,
		Unreadable: p.t.Unreadable,
	})
	p.inbox = inbox.New(inbox.Options{
		Target: t, Views: p.views, Messages: p.messages, Arrived: p.signals.Arrived, Emit: p.o.Emit, Log: p.log, On: p.o.Receive, Call: p.t.Call,
	})
	p.passkeys = command.NewPasskeys(p.commands, p.messages.Challenged, p.o.Emit)
	stream := p.o.Browser.Context(life).Event()
	p.running.Go(func() {
		events.Listen(stream, t, p.log, p.signals.Handle, tidier.Handle, p.diagnoser.Handle)
		if life.Err() == nil {
			p.signals.Gone()
		}
	})
	for _, other := range others {
		tidier.Close(other)
	}
	if err := t.Prepare(ctx, p.o.Disguise); err != nil {
		return err
	}
	// An address that can't be reached, or answers with an error or not at all, is loaded
	// again by Run: a new Chrome would find the same.
	if err := p.navigate(ctx); err != nil && p.failure == (classify.Failure{}) {
		return err
	}
	return nil
}

// close ends the page's goroutines and waits for them. The target stays: it
// ends with its browser.
func (p *Page) close() {
	p.end()
	p.running.Wait()
}

// SetSelectors makes the next observation use another selectors file; an empty one
// stands for the built-in one. It is safe for concurrent use.
func (p *Page) SetSelectors(_ context.Context, file []byte) error {
	scripts, err := target.Compile(file)
	if err != nil {
		return err
	}
	p.target.Scripts.Store(scripts)
	p.signals.Hint()
	return nil
}

// Pair is that of command.Commands.
func (p *Page) Pair(ctx context.Context, phone rpc.Secret) (rpc.Pairing, error) {
	defer p.signals.Hint()
	return p.commands.Pair(ctx, phone)
}

// LogOut is that of command.Commands.
func (p *Page) LogOut(ctx context.Context) error {
	defer p.signals.Hint()
	return p.commands.LogOut(ctx)
}

// Send is that of message.Messages, or command.Type for what is to be typed.
func (p *Page) Send(ctx context.Context, m rpc.Message) (rpc.MessageState, error) {
	if !m.Typed.IsZero() {
		defer p.signals.Hint()
		return command.Type(ctx, p.commands, m)
	}
	return p.messages.Send(ctx, m)
}

// Lookup is that of message.Messages.
func (p *Page) Lookup(ctx context.Context, refs []rpc.MessageRef) ([]rpc.MessageState, error) {
	return p.messages.Lookup(ctx, refs)
}

// Contact is that of message.Messages.
func (p *Page) Contact(ctx context.Context, phone rpc.Secret) (rpc.Contact, error) {
	return p.messages.Contact(ctx, phone)
}

// Receive is that of inbox.Inbox.
func (p *Page) Receive(ctx context.Context, r rpc.ReceiveQuery) (rpc.Reception, error) {
	return p.inbox.Receive(ctx, r)
}

// Passkey is that of command.Passkeys.
func (p *Page) Passkey(ctx context.Context, c rpc.PasskeyCommand) (rpc.PasskeyCall, error) {
	return p.passkeys.Do(ctx, c)
}

// diagnoseWithin bounds a diagnosis, however much time the caller gives.
const diagnoseWithin = 90 * time.Second

// Diagnose describes what the page is made of, and what each reader finds in it.
// What it can't find out is left empty. It is safe for concurrent use.
func (p *Page) Diagnose(ctx context.Context) (rpc.Diagnosis, error) {
	v := p.views.Get()
	if !v.Observed {
		return rpc.Diagnosis{}, rpc.ErrNoPage
	}
	ctx, cancel := context.WithTimeout(ctx, diagnoseWithin)
	defer cancel()
	defer context.AfterFunc(p.target.Life, cancel)()
	d, err := p.diagnoser.Diagnose(ctx, v)
	return d, p.target.Explain(err)
}

// Screenshot returns a PNG of what the page shows. It is safe for concurrent use.
func (p *Page) Screenshot(ctx context.Context) ([]byte, error) { return p.target.Screenshot(ctx) }

// MainThreadAge is how long ago the page's main thread last answered, -1 if it
// never has. It is safe for concurrent use.
func (p *Page) MainThreadAge() time.Duration {
	at := p.answered.Load()
	if at == nil {
		return -1
	}
	return time.Since(*at)
}

// Timings are the durations of the package. Zero fields take the defaults.
type Timings struct {
	// Open bounds everything that Open does, the first navigation included.
	Open time.Duration
	// Interval is the longest time between two observations, and Rest the same while
	// the page is well, reports its changes and answers at once: an observation costs
	// the page, Chrome and the worker a millisecond each.
	Interval, Rest time.Duration
	// Deadline is how long the page's main thread may take to answer, and Misses how
	// often in a row it may fail to before it is cured.
	Deadline time.Duration
	Misses   int
	// Navigate bounds a navigation. It must be less than what the supervisor waits for an
	// observation.
	Navigate time.Duration
	// CureLimit is how many cures of a kind (hang, crash) are allowed in ten minutes.
	CureLimit int
	// Call bounds every other call to Chrome.
	Call time.Duration
	// Answer is how long the page may take for what a person asks of it, with its
	// server.
	Answer time.Duration
	// Settle is how long a page that is ready may lack functions for messages, as some of its modules
	// come late.
	Settle time.Duration
	// Unreadable is for how long a page that is ready may fail to read its own messages before it
	// is loaded again, doubled after each time without success.
	Unreadable time.Duration
	// SearchAgain is how long after one search of images the next may begin, doubled
	// after each without success up to SearchAgainMax.
	SearchAgain, SearchAgainMax time.Duration

	Classify classify.Timings
}

// stretched gives the page more time to load and to answer.
func (t Timings) stretched(by rpc.DeadlineFactor) Timings {
	by.Stretch(&t.Open, &t.Deadline, &t.Navigate, &t.Call)
	return t
}

func (t Timings) withDefaults() Timings {
	t.Open = cmp.Or(t.Open, time.Minute)
	t.Interval = cmp.Or(t.Interval, 2*time.Second)
	t.Rest = cmp.Or(t.Rest, rpc.QREvidence)
	t.Deadline = cmp.Or(t.Deadline, 4*time.Second)
	t.Misses = cmp.Or(t.Misses, 3)
	t.Navigate = cmp.Or(t.Navigate, 20*time.Second)
	t.CureLimit = cmp.Or(t.CureLimit, 3)
	t.Call = cmp.Or(t.Call, 5*time.Second)
	t.Answer = cmp.Or(t.Answer, 25*time.Second)
	t.Settle = cmp.Or(t.Settle, 5*time.Second)
	t.Unreadable = cmp.Or(t.Unreadable, 20*time.Second)
	t.SearchAgain = cmp.Or(t.SearchAgain, time.Second)
	t.SearchAgainMax = cmp.Or(t.SearchAgainMax, 8*time.Second)
	return t
}
