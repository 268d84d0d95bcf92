package page

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/logid"
)

var (
	// phoneNumber is E.164 without its plus.
	phoneNumber = regexp.MustCompile(`^[1-9][0-9]{7,14}$`)
	// pairingCode is what the page makes: without letters that look like digits.
	pairingCode = regexp.MustCompile(`^[1-9A-Z]{8}$`)
)

// errNoModules means that the page's own functions are not to be had.
var errNoModules = errors.New("the page's modules offer no pairing code")

// pairing is the latest request for a code. It is a secret.
type pairing struct {
	document int
	phone    rpc.Secret
	code     rpc.Secret
	until    time.Time
}

// reusable is how much of a code's life must be left for it to be given again.
const reusable = 30 * time.Second

// Pair makes the page offer a code that links the phone with this number, and
// returns when it has one. A code of the same phone that lives is returned
// again. It is safe for concurrent use. Errors are those of rpc.Worker.
func (p *Page) Pair(ctx context.Context, phone rpc.Secret) (rpc.Pairing, error) {
	if !phoneNumber.MatchString(string(phone)) {
		return rpc.Pairing{}, rpc.ErrPhoneRefused
	}
	var made rpc.Pairing
	err := p.command(ctx, func(ctx context.Context) error {
		v, err := p.settled(ctx)
		if err != nil {
			return err
		}
		if v.shown.Condition != rpc.PageUnlinked {
			return rpc.ErrNotUnlinked
		}
		if live, ok := p.livePairing(v.document, phone); ok {
			made = rpc.Pairing{Code: live.code, TTL: time.Until(live.until)}
			return nil
		}
		made, err = p.makeCode(ctx, v, phone)
		return err
	})
	if err != nil {
		return rpc.Pairing{}, fmt.Errorf("cannot get a pairing code: %w", err)
	}
	return made, nil
}

// livePairing returns the code of that phone that can still be used.
func (p *Page) livePairing(document int, phone rpc.Secret) (pairing, bool) {
	p.signals.mu.Lock()
	defer p.signals.mu.Unlock()
	live := p.signals.pairing
	return live, live.code != "" && live.phone == phone && live.document == document && time.Until(live.until) > reusable
}

// setPairing tells the loop until when no QR of the document can be used.
func (p *Page) setPairing(made pairing) {
	p.signals.mu.Lock()
	defer p.signals.mu.Unlock()
	p.signals.pairing = made
}

// pairingUntil is when the code's life ends that the document was asked for; the
// zero time when it was asked for none.
func (p *Page) pairingUntil(document int) time.Time {
	p.signals.mu.Lock()
	defer p.signals.mu.Unlock()
	if p.signals.pairing.document != document {
		return time.Time{}
	}
	return p.signals.pairing.until
}

// makeCode asks the page's modules for a code, and where they are gone does what
// a person would. After a failure the page is led back to its QR by the judge.
func (p *Page) makeCode(ctx context.Context, v view, phone rpc.Secret) (rpc.Pairing, error) {
	h, err := p.reach(ctx)
	if err != nil {
		return rpc.Pairing{}, err
	}
	defer h.release()
	life := time.Duration(h.k.Pairing.CodeSeconds) * time.Second
	// From here on the secret in the page's QR is not that of its session.
	p.setPairing(pairing{document: v.document, until: time.Now().Add(life)})
	code, err := h.codeByModules(ctx, phone)
	if errors.Is(err, errNoModules) {
		p.log.Info(logid.ModulesBypassed, logging.KeyDetail, err.Error())
		code, err = h.codeByHand(ctx, phone)
	}
	if err == nil && !pairingCode.MatchString(string(code)) {
		err = fmt.Errorf("%w: what it gives is no code", rpc.ErrPairingUnavailable)
	}
	if err != nil {
		p.setPairing(pairing{document: v.document, until: time.Now()})
		return rpc.Pairing{}, err
	}
	p.log.Info(logid.PairingCodeReceived)
	p.setPairing(pairing{document: v.document, phone: phone, code: code, until: time.Now().Add(life)})
	return rpc.Pairing{Code: code, TTL: life}, nil
}

// invoked is what act.js says about calls of modules.
type invoked struct {
	Missing, Late, Failed bool
	Value, Refusal        string
}

// codeByModules makes the calls of the selectors.
func (h *input) codeByModules(ctx context.Context, phone rpc.Secret) (rpc.Secret, error) {
	if len(h.k.Pairing.Calls) == 0 {
		return "", errNoModules
	}
	if err := h.connected(ctx); err != nil {
		return "", err
	}
	var made invoked
	if err := h.ask(ctx, &made, "invoke", h.k.Pairing.Calls, string(phone), h.page.t.Answer.Milliseconds()); err != nil {
		return "", err
	}
	switch {
	case made.Missing:
		return "", fmt.Errorf("%w: they are missing", errNoModules)
	case made.Late:
		return "", fmt.Errorf("%w: they gave no answer in %v", errNoModules, h.page.t.Answer)
	case made.Refusal != "":
		return "", refusalOf(made.Refusal)
	case made.Failed:
		return "", fmt.Errorf("%w: they failed", errNoModules)
	}
	return rpc.Secret(made.Value), nil
}

// connected waits until the page can ask its server for a code. Asked earlier it says
// no to its modules, and nothing to who presses its button.
func (h *input) connected(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, h.page.t.Answer)
	defer cancel()
	if _, err := h.page.views.await(short, func(v view) bool { return canAsk(v.socket) }); err != nil {
		return fmt.Errorf("%w: the page has no connection", rpc.ErrPairingUnavailable)
	}
	return nil
}

// canAsk tells whether the page can ask its server for a code, as far as is known.
func canAsk(s selectors.Socket) bool {
	return s == "" || s == selectors.SocketUnpaired || s == selectors.SocketIdle
}

// codeByHand fills in the page's form.
func (h *input) codeByHand(ctx context.Context, phone rpc.Secret) (rpc.Secret, error) {
	if err := h.openForm(ctx); err != nil {
		return "", fmt.Errorf("%w: %w", rpc.ErrPairingUnavailable, err)
	}
	if err := h.typeOver(ctx, toInput, "+"+string(phone)); err != nil {
		return "", fmt.Errorf("%w: %w", rpc.ErrPairingUnavailable, err)
	}
	var typed string
	if err := h.ask(ctx, &typed, "typed"); err != nil {
		return "", err
	}
	if typed != string(phone) {
		return "", fmt.Errorf("%w: its form did not take the number", rpc.ErrPairingUnavailable)
	}
	var before []string
	if err := h.ask(ctx, &before, "codes"); err != nil {
		return "", err
	}
	// To open the form can make the page connect anew.
	if err := h.connected(ctx); err != nil {
		return "", err
	}
	// The connection may be gone again, or nothing be known of it: who sees nothing
	// happen presses again, if there still is something to press.
	for try := range presses {
		if err := h.press(ctx, toNext); err != nil && (try == 0 || !errors.Is(err, errNothingToPress)) {
			return "", fmt.Errorf("%w: %w", rpc.ErrPairingUnavailable, err)
		}
		var seen struct{ Code, Refusal string }
		if err := h.ask(ctx, &seen, "outcome", before, h.page.t.Answer.Milliseconds()/presses); err != nil {
			return "", err
		}
		switch {
		case seen.Code != "":
			return rpc.Secret(seen.Code), nil
		case seen.Refusal != "":
			return "", refusalOf(seen.Refusal)
		}
	}
	return "", fmt.Errorf("%w: no code came in %v", rpc.ErrPairingUnavailable, h.page.t.Answer)
}

// openForm gets the page from wherever it is to its form for a phone number. A
// form or a code that is open already is left first, with what is in it.
func (h *input) openForm(ctx context.Context) error {
	if err := h.press(ctx, toQR); err != nil && !errors.Is(err, errNothingToPress) {
		return err
	}
	if _, err := h.appears(ctx, toPhone, h.page.t.Call); err != nil {
		return err
	}
	// What is being drawn moves, and a click misses it then.
	for range presses {
		if err := h.press(ctx, toPhone); err != nil && !errors.Is(err, errNothingToPress) {
			return err
		}
		if there, err := h.appears(ctx, toInput, h.page.t.Press); err != nil || there {
			return err
		}
	}
	return errors.New("its form for a phone number did not open")
}

// presses is how often a button is pressed that has no effect.
const presses = 3

// refusalOf translates the names by which act.js calls the refusals.
func refusalOf(name string) error {
	switch name {
	case "phone":
		return rpc.ErrPhoneRefused
	case "too_many":
		return rpc.ErrTooManyAttempts
	default:
		return rpc.ErrPairingUnavailable
	}
}

// goBack leads the page from a pairing code to its QR, for the judge.
func (l *loop) goBack(ctx context.Context) error {
	if err := l.press(ctx, toQR); err != nil {
		return err
	}
	l.setPairing(pairing{})
	return nil
}
