package command

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/classify"
	"session-manager/worker/internal/page/observe"
	"session-manager/worker/internal/page/passkey"
	"session-manager/worker/internal/page/target"
)

// Names of what act.js finds.
const (
	passkeyContinue   = "passkey_continue"
	passkeyConfirm    = "passkey_confirm"
	passkeyCancel     = "passkey_cancel"
	challengeContinue = "challenge_continue"
)

// Passkeys carries the page's requests for a passkey to a person, and the answers back, and
// reports how far that has got. In the page nothing is replaced but
// navigator.credentials.get, from PasskeyBegin to the page's next call. It is safe for
// concurrent use.
type Passkeys struct {
	commands   *Commands
	challenged func() bool
	emit       func(rpc.EventBody)

	mu       sync.Mutex
	call     *call       // the page's open call, nil without one
	answered [8][32]byte // the newest assertions that the page has got
	progress progress
}

// call is one of navigator.credentials.get that a person elsewhere is to answer.
type call struct {
	document int
	request  passkey.Request
	until    time.Time
	place    *target.Document
	object   *target.Object
}

// progress is what was reported last, and its clocks.
type progress struct {
	document int
	reported rpc.PasskeyChanged
	open     bool // a call was, then
	// asked is when the page was first seen to ask, and requested when what it asks for
	// was made.
	asked, requested time.Time
	request          passkey.Request
}

// NewPasskeys returns the Passkeys of a page. Challenged reports whether the owner of the
// linked account is asked for a passkey.
func NewPasskeys(c *Commands, challenged func() bool, emit func(rpc.EventBody)) *Passkeys {
	return &Passkeys{commands: c, challenged: challenged, emit: emit}
}

func passkeyError(code rpc.PasskeyErrorCode) error { return &rpc.PasskeyError{Code: code} }

// Do is rpc.Worker's Passkey.
func (p *Passkeys) Do(ctx context.Context, c rpc.PasskeyCommand) (made rpc.PasskeyCall, err error) {
	act := map[rpc.PasskeyAction]func(context.Context, observe.View) error{
		rpc.PasskeyBegin:   func(ctx context.Context, v observe.View) (err error) { made, err = p.begin(ctx, v); return err },
		rpc.PasskeyAnswer:  func(ctx context.Context, v observe.View) error { return p.answer(ctx, v, c.Assertion) },
		rpc.PasskeyConfirm: p.confirm,
		rpc.PasskeyCancel:  p.cancel,
	}[c.Action]
	if act == nil {
		return made, fmt.Errorf("internal error: no passkey action %q", c.Action)
	}
	return made, p.commands.do(ctx, act)
}

// Open reports whether a call of this document is open.
func (p *Passkeys) Open(document int) bool { return p.open(document) != nil }

func (p *Passkeys) open(document int) *call {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.call == nil || p.call.document != document || time.Now().After(p.call.until) {
		return nil
	}
	return p.call
}

// begin returns the open call. Without one it has the page make it, as a person would.
func (p *Passkeys) begin(ctx context.Context, v observe.View) (rpc.PasskeyCall, error) {
	if open := p.open(v.Document); open != nil {
		return open.carried(), nil
	}
	button, calls := passkeyContinue, p.commands.target.Scripts.Load().Set.Passkey.Begin
	switch {
	case v.Reported.Registered && p.challenged():
		button, calls = challengeContinue, nil
	case v.Reported.Registered, v.Reported.Reason != reason.PasskeyRequired:
		return rpc.PasskeyCall{}, passkeyError(rpc.PasskeyNotAsked)
	}
	act := func(ctx context.Context) error { return p.pressOr(ctx, button, calls) }
	if v.PasskeyAsked && len(calls) > 0 {
		// While Chrome waits for a passkey, its own dialog keeps the mouse from the page (measured with 156).
		act = func(ctx context.Context) error { return p.invoke(ctx, calls) }
	}
	made, err := p.intercept(ctx, v, act)
	if err != nil {
		return rpc.PasskeyCall{}, err
	}
	p.mu.Lock()
	p.call = made
	p.mu.Unlock()
	p.Observed(v)
	return made.carried(), nil
}

func (c *call) carried() rpc.PasskeyCall {
	return rpc.PasskeyCall{Options: c.request.Options, TTL: time.Until(c.until)}
}

// intercept returns the call that the page makes because of act.
func (p *Passkeys) intercept(ctx context.Context, v observe.View, act func(context.Context) error) (_ *call, err error) {
	c := p.commands
	document, err := c.target.Document(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot reach into page: %w", err)
	}
	made := &call{document: v.Document, place: document}
	defer func() {
		if err != nil {
			p.drop(made)
		}
	}()
	if made.object, err = document.New(ctx, c.target.Scripts.Load().Passkey); err != nil {
		return nil, fmt.Errorf("cannot reach into page: %w", err)
	}
	if err := made.object.Invoke(ctx, new(any), "arm", c.answer.Milliseconds()); err != nil {
		return nil, unlessStale(err)
	}
	if err := act(ctx); err != nil {
		return nil, err
	}
	var options string
	if err := made.object.Invoke(ctx, &options, "called", c.answer.Milliseconds()); err != nil {
		return nil, unlessStale(err)
	}
	if made.request, err = passkey.ReadRequest(options, c.target.Origin); err != nil {
		c.log.Warn(logid.PasskeyRequestRejected, logging.KeyError, err)
		return nil, passkeyError(rpc.PasskeyUnavailable)
	}
	made.until = p.requested(made.request)
	return made, nil
}

// unlessStale is the error of a script that failed: a page can make every call of it fail.
func unlessStale(err error) error {
	if errors.Is(err, target.ErrScript) {
		return passkeyError(rpc.PasskeyUnavailable)
	}
	return err
}

// requested notes when the page's request was made, and returns how long it is good: as
// long as the page says, and no longer than WhatsApp accepts it.
func (p *Passkeys) requested(r passkey.Request) time.Time {
	life := time.Duration(p.commands.target.Scripts.Load().Set.Passkey.OptionsSeconds) * time.Second
	p.mu.Lock()
	defer p.mu.Unlock()
	s, now := &p.progress, time.Now()
	if !r.Same(s.request) {
		if s.request.Options != "" || s.requested.IsZero() {
			s.requested = now
		}
		s.request = r
	}
	until := s.requested.Add(life)
	if r.Timeout > 0 && now.Add(r.Timeout).Before(until) {
		until = now.Add(r.Timeout)
	}
	return until
}

// drop rejects a call, if its page is still there, and lets go of it.
func (p *Passkeys) drop(c *call) {
	ctx, cancel := context.WithTimeout(p.commands.target.Life, p.commands.call)
	defer cancel()
	if c.object != nil {
		_ = c.object.Invoke(ctx, new(any), "refuse") // its page may be gone
		c.object.Release(ctx)
	}
	c.place.Release(ctx)
}

// end forgets the open call and drops it.
func (p *Passkeys) end() bool {
	p.mu.Lock()
	c := p.call
	p.call = nil
	p.mu.Unlock()
	if c == nil {
		return false
	}
	p.drop(c)
	return true
}

// answer gives the page what was signed, if it fits.
func (p *Passkeys) answer(ctx context.Context, v observe.View, assertion rpc.Secret) error {
	open := p.open(v.Document)
	if open == nil {
		return passkeyError(rpc.PasskeyNoCall)
	}
	a, err := open.request.Check(assertion)
	if err != nil {
		return err
	}
	hash := a.Hash()
	for _, before := range p.answered {
		if before == hash {
			return passkeyError(rpc.PasskeyReplayed)
		}
	}
	if err := open.object.Invoke(ctx, new(any), "answer", a); err != nil {
		p.end() // the page has withdrawn its call
		return unlessStale(err)
	}
	copy(p.answered[1:], p.answered[:])
	p.answered[0] = hash
	p.end()
	p.commands.hint()
	return nil
}

// confirm is a person having compared the code.
func (p *Passkeys) confirm(ctx context.Context, v observe.View) error {
	if stageOf(v, false).Stage != rpc.PasskeyConfirming {
		return passkeyError(rpc.PasskeyNoCode)
	}
	return p.pressOr(ctx, passkeyConfirm, p.commands.target.Scripts.Load().Set.Passkey.Confirm)
}

// cancel declines the open call, and leads a page that is not linked back to its QR.
func (p *Passkeys) cancel(ctx context.Context, v observe.View) error {
	declined := p.end()
	switch {
	case v.Reported.Registered && declined:
		return nil
	case v.Reported.Registered, v.Reported.Reason != reason.PasskeyRequired:
		return passkeyError(rpc.PasskeyNotAsked)
	}
	return p.pressOr(ctx, passkeyCancel, p.commands.target.Scripts.Load().Set.Passkey.Cancel)
}

// pressOr presses a button, or makes the calls that stand for it.
func (p *Passkeys) pressOr(ctx context.Context, name string, calls []selectors.Call) error {
	defer p.commands.hint()
	err := p.commands.Press(ctx, name)
	if !errors.Is(err, errNothingToPress) {
		return err
	}
	return p.invoke(ctx, calls)
}

// invoke calls what a button calls.
func (p *Passkeys) invoke(ctx context.Context, calls []selectors.Call) error {
	return p.commands.reach(ctx, func(in *input) error {
		made, err := in.invoke(ctx, calls, "", press)
		if err == nil && (made.Missing || len(calls) == 0) {
			err = passkeyError(rpc.PasskeyUnavailable)
		}
		return err
	})
}

// Observed reports what has changed, and drops a call whose time or document is over.
func (p *Passkeys) Observed(v observe.View) {
	p.mu.Lock()
	over := p.call != nil && (p.call.document != v.Document || time.Now().After(p.call.until))
	p.mu.Unlock()
	if over {
		p.end()
	}
	now := stageOf(v, p.Open(v.Document))
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.progress
	open := p.call != nil
	switch {
	case now.Stage == "", s.document != v.Document:
		*s = progress{document: v.Document, open: s.open, reported: s.reported}
	case s.asked.IsZero():
		s.asked = time.Now()
		if !open {
			s.requested = s.asked
		}
	}
	was := s.reported
	was.TTL, was.HandoffTTL = 0, 0
	if now == was && open == s.open {
		return
	}
	now.TTL, now.HandoffTTL = p.clocksLocked(now.Stage)
	if v.Reported.Registered {
		now.HandoffTTL = 0
	}
	s.reported, s.open = now, open
	p.emit(now)
}

// clocksLocked returns how long a stage can last from now on, and for how long no code has
// to be compared.
func (p *Passkeys) clocksLocked(stage rpc.PasskeyStage) (ttl, handoff time.Duration) {
	k, s := p.commands.target.Scripts.Load().Set.Passkey, p.progress
	seconds := func(n int) time.Duration { return time.Duration(n) * time.Second }
	switch {
	case stage == "":
		return 0, 0
	case p.call != nil:
		ttl = time.Until(p.call.until)
	case stage == rpc.PasskeySent, stage == rpc.PasskeyConfirming:
		ttl = seconds(k.StepSeconds)
	default:
		ttl = seconds(k.OptionsSeconds) - time.Since(s.requested)
	}
	return max(0, ttl), max(0, seconds(k.HandoffSeconds)-time.Since(s.asked))
}

// stageOf is how far the page has got, by its cards, or else by its events.
func stageOf(v observe.View, open bool) rpc.PasskeyChanged {
	seen := v.Drawn.Passkey
	switch {
	case open:
		return rpc.PasskeyChanged{Stage: rpc.PasskeyNeeded}
	case v.Reported.Registered, v.Reported.Reason != reason.PasskeyRequired:
		return rpc.PasskeyChanged{}
	case seen.Code != "":
		return rpc.PasskeyChanged{Stage: rpc.PasskeyConfirming, Code: seen.Code}
	case seen.Waiting:
		return rpc.PasskeyChanged{Stage: rpc.PasskeySent}
	case seen.Event == rpc.PasskeyFailed:
		return rpc.PasskeyChanged{Stage: rpc.PasskeyFailed, Reason: rpc.PasskeyReason(seen.Word)}
	case seen.Prompt:
		return rpc.PasskeyChanged{Stage: rpc.PasskeyNeeded}
	}
	return byEvent(seen)
}

// byEvent is the stage where no card is known.
func byEvent(seen classify.Passkey) rpc.PasskeyChanged {
	switch {
	case seen.Event == rpc.PasskeyConfirming && !seen.Skip:
		return rpc.PasskeyChanged{Stage: rpc.PasskeyConfirming, Code: seen.Word}
	case seen.Event == rpc.PasskeyConfirming, seen.Event == rpc.PasskeySent:
		return rpc.PasskeyChanged{Stage: rpc.PasskeySent}
	}
	return rpc.PasskeyChanged{Stage: rpc.PasskeyNeeded}
}
