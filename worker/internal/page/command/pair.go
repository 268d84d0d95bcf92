package command

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/observe"
)

var (
	// phoneNumber is E.164 without its plus.
	phoneNumber = regexp.MustCompile(`^[1-9][0-9]{7,14}$`)
	// pairingCode is what the page makes: without letters that look like digits.
	pairingCode = regexp.MustCompile(`^[1-9A-Z]{8}$`)
)

// errNoModules means that the page's own functions can't be called.
var errNoModules = errors.New("the page's modules offer no pairing code")

// pairing is the latest request for a code. It is a secret, and not changed.
type pairing struct {
	document int
	asked    bool // and not led back to the QR since
	phone    rpc.Secret
	code     rpc.Secret // empty while there is no answer, or when it was refused
	until    time.Time
}

// reusable is how much of a code's life must be left for it to be given again.
const reusable = 30 * time.Second

// Pair makes the page offer a code that links the phone with this number, and
// returns when it has one. A code of the same phone that can still be used is
// returned again. Errors are those of rpc.Worker.
func (c *Commands) Pair(ctx context.Context, phone rpc.Secret) (rpc.Pairing, error) {
	if !phoneNumber.MatchString(string(phone)) {
		return rpc.Pairing{}, rpc.ErrPhoneRefused
	}
	var made rpc.Pairing
	err := c.do(ctx, func(ctx context.Context, v observe.View) error {
		if v.Reported.Condition != rpc.PageUnlinked || v.Reported.Reason == reason.Conflict {
			return rpc.ErrNotUnlinked
		}
		if p := c.pairing.Load(); p.live(v.Document, phone) {
			made = rpc.Pairing{Code: p.code, TTL: time.Until(p.until)}
			return nil
		}
		var err error
		made, err = c.makeCode(ctx, v.Document, phone)
		return err
	})
	if err != nil {
		return rpc.Pairing{}, fmt.Errorf("cannot get a pairing code: %w", err)
	}
	return made, nil
}

// live reports whether the code is that phone's, and can still be used.
func (p *pairing) live(document int, phone rpc.Secret) bool {
	return p.code != "" && p.phone == phone && p.document == document && time.Until(p.until) > reusable
}

// Pairing reports whether the document was asked for a pairing code and not led back
// to its QR since: until then none of its QR codes can be used. The life of the code
// ends at until, which is zero without a code.
func (c *Commands) Pairing(document int) (asked bool, until time.Time) {
	if p := c.pairing.Load(); p.document == document {
		return p.asked, p.until
	}
	return false, time.Time{}
}

// makeCode asks the page's modules for a code, and without them does what a person
// would. After a failure the loop leads the page back to its QR.
func (c *Commands) makeCode(ctx context.Context, document int, phone rpc.Secret) (rpc.Pairing, error) {
	var code rpc.Secret
	k := c.target.Scripts.Load().Pairing
	life := time.Duration(k.CodeSeconds) * time.Second
	err := c.reach(ctx, func(in *input) (err error) {
		if err := in.closeDialogs(ctx); err != nil {
			return err
		}
		// From here on an earlier code is dead, and the secret in the page's QR is not
		// that of its session.
		c.pairing.Store(&pairing{document: document, asked: true})
		c.awaitReport(ctx)
		code, err = c.codeByModules(ctx, in, k.Calls, phone)
		if errors.Is(err, errNoModules) {
			c.log.Info(logid.ModulesBypassed, logging.KeyDetail, err.Error())
			code, err = c.codeByHand(ctx, in, phone)
		}
		if err == nil && !pairingCode.MatchString(string(code)) {
			err = fmt.Errorf("%w: what it gives is not a code", rpc.ErrPairingUnavailable)
		}
		return err
	})
	if err != nil {
		return rpc.Pairing{}, err
	}
	c.log.Info(logid.PairingCodeReceived)
	c.pairing.Store(&pairing{document: document, asked: true, phone: phone, code: code, until: time.Now().Add(life)})
	return rpc.Pairing{Code: code, TTL: life}, nil
}

// awaitReport waits until an earlier code is no longer reported as alive.
func (c *Commands) awaitReport(ctx context.Context) {
	short, cancel := context.WithTimeout(ctx, c.call)
	defer cancel()
	c.hint()
	// A page that is not observed meanwhile is reported as that.
	_, _ = c.views.Await(short, func(v observe.View) bool { return v.Reported.Reason != reason.PairingCodeShown })
}

// codeByModules makes the calls of the selectors.
func (c *Commands) codeByModules(ctx context.Context, in *input, calls []selectors.Call, phone rpc.Secret) (rpc.Secret, error) {
	if len(calls) == 0 {
		return "", errNoModules
	}
	if err := c.connected(ctx); err != nil {
		return "", err
	}
	made, err := in.invoke(ctx, calls, string(phone), c.answer)
	switch {
	case err != nil:
		return "", err
	case made.Missing:
		return "", fmt.Errorf("%w: they are missing", errNoModules)
	case made.Late:
		// Asking again by the form would be a second request.
		return "", fmt.Errorf("%w in %v", rpc.ErrPairingTimeout, c.answer)
	case made.Refusal != "":
		return "", refusalOf(made.Refusal)
	case made.Failed:
		return "", fmt.Errorf("%w: they failed", errNoModules)
	}
	return rpc.Secret(made.Value), nil
}

// connected waits until the page can ask its server for a code, as far as is known.
// Asked earlier it refuses its modules, and ignores its button.
func (c *Commands) connected(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, c.answer)
	defer cancel()
	_, err := c.views.Await(short, func(v observe.View) bool {
		return v.Modules.Socket == "" || v.Modules.Socket == selectors.SocketUnpaired || v.Modules.Socket == selectors.SocketIdle
	})
	if err != nil {
		return fmt.Errorf("%w: the page has no connection", rpc.ErrPairingTimeout)
	}
	return nil
}

// presses is how often a button without effect is pressed.
const presses = 3

// codeByHand fills in the page's form.
func (c *Commands) codeByHand(ctx context.Context, in *input, phone rpc.Secret) (rpc.Secret, error) {
	if err := c.fillForm(ctx, in, string(phone)); err != nil {
		return "", err
	}
	var before []string // texts on the screen that look like a pairing code
	if err := in.object.Invoke(ctx, &before, "codes"); err != nil {
		return "", err
	}
	// Opening the form can make the page connect again.
	if err := c.connected(ctx); err != nil {
		return "", err
	}
	// The connection may be lost again, or nothing may be known of it: a person who
	// sees nothing happen presses again, if there still is something to press.
	for try := range presses {
		if err := in.press(ctx, next); err != nil && (try == 0 || !errors.Is(err, errNothingToPress)) {
			return "", unavailable(err)
		}
		var seen struct{ Code, Refusal string } // a code that was not there before, the name of a refusal, or neither
		err := in.object.Invoke(ctx, &seen, "outcome", before, (c.answer / presses).Milliseconds())
		switch {
		case err != nil:
			return "", err
		case seen.Code != "":
			return rpc.Secret(seen.Code), nil
		case seen.Refusal != "":
			return "", refusalOf(seen.Refusal)
		}
	}
	return "", fmt.Errorf("%w in %v", rpc.ErrPairingTimeout, c.answer)
}

func (c *Commands) fillForm(ctx context.Context, in *input, phone string) error {
	if err := c.openForm(ctx, in); err != nil {
		return unavailable(err)
	}
	if err := in.typeOver(ctx, field, "+"+phone); err != nil {
		return unavailable(err)
	}
	var typed string
	if err := in.object.Invoke(ctx, &typed, "typed"); err != nil {
		return err
	}
	if typed != phone {
		return unavailable(errors.New("its form did not accept the number"))
	}
	return nil
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", rpc.ErrPairingUnavailable, err) }

// openForm leads the page to its form for a phone number. A form or a code that is
// open already is left first, with what is in it.
func (c *Commands) openForm(ctx context.Context, in *input) error {
	if err := in.press(ctx, byQR); err != nil && !errors.Is(err, errNothingToPress) {
		return err
	}
	if _, err := in.appears(ctx, byPhone, c.call); err != nil {
		return err
	}
	// What is being drawn moves, and a click misses it then.
	for range presses {
		if err := in.press(ctx, byPhone); err != nil && !errors.Is(err, errNothingToPress) {
			return err
		}
		if there, err := in.appears(ctx, field, press); err != nil || there {
			return err
		}
	}
	return errors.New("its form for a phone number did not open")
}

// refusalOf translates the names by which act.js calls the refusals.
func refusalOf(name string) error {
	switch name {
	case "phone":
		return rpc.ErrPhoneRefused
	case "forbidden":
		return rpc.ErrPairingForbidden
	case "too_many":
		return rpc.ErrTooManyAttempts
	case "failed":
		return rpc.ErrPairingFailed
	default:
		return rpc.ErrPairingUnavailable
	}
}
