package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/login"
	"session-manager/supervisor/internal/session"
	"session-manager/supervisor/internal/worker"
)

// Time limits of commands, all below the server's write timeout.
const (
	// commandTimeout: a planned restart waits for Chrome to flush its profile.
	commandTimeout = 20 * time.Second
	// pairTimeout: the page may have to be operated as a person would.
	pairTimeout = 45 * time.Second
	// logOutTimeout: the page informs the server and wipes its login, Chrome
	// closes, the profile is moved.
	logOutTimeout = 60 * time.Second
)

// pairRetry is how long callers should wait when the page gives no more codes. The
// page does not say for how long; refusals of half an hour have been reported.
const pairRetry = 5 * time.Minute

// commands answers the routes that make the worker do something.
type commands struct {
	workers Workers
	login   Login
	session Session
	log     *slog.Logger
}

type restartBody struct {
	Accepted bool `json:"accepted"`
	// DeferredUntil is left out when the restart happens at once.
	DeferredUntil session.Moment `json:"deferred_until,omitzero"`
}

// restart answers POST /session/restart: the worker and Chrome are closed cleanly
// and started again, even during a crash loop. While a phone is being linked it
// waits, except with ?now=true.
func (c *commands) restart(r *http.Request) http.Handler {
	now, bad := flag(r, "now")
	if bad != nil {
		return bad
	}
	ctx, cancel := context.WithTimeout(r.Context(), commandTimeout)
	defer cancel()
	urgency := worker.AfterPairing
	if now {
		urgency = worker.Immediately
	}
	until, err := c.workers.Restart(ctx, urgency)
	if err != nil {
		return c.failed("restart", err)
	}
	return object{http.StatusAccepted, restartBody{Accepted: true, DeferredUntil: session.Moment{Time: until}}}
}

// screenshot answers GET /session/screenshot: what Chrome shows now. It may show
// the QR, or chats.
func (c *commands) screenshot(r *http.Request) http.Handler {
	ctx, cancel := context.WithTimeout(r.Context(), commandTimeout)
	defer cancel()
	png, err := c.workers.Screenshot(ctx)
	if err != nil {
		return c.failed("screenshot", err)
	}
	return content{pngType, png}
}

// pairingRefusals are the errors of a request for a code that was made.
var pairingRefusals = []error{
	rpc.ErrPhoneRefused, rpc.ErrPairingForbidden, rpc.ErrTooManyAttempts, rpc.ErrPairingFailed, rpc.ErrPairingTimeout,
	rpc.ErrPairingUnavailable,
}

type pairBody struct {
	// Code links a phone as a QR does. It is in this answer and nowhere else.
	Code      string    `json:"code"`
	ExpiresAt time.Time `json:"expires_at"`
}

// pair answers POST /session/pair: a code that links the phone with that number
// when it is entered there.
func (c *commands) pair(r *http.Request) http.Handler {
	var asked struct {
		Phone string `json:"phone"`
	}
	if bad := input(r, &asked); bad != nil {
		return bad
	}
	phone, ok := parsePhone(asked.Phone)
	if !ok {
		return phoneInvalid
	}
	ctx, cancel := context.WithTimeout(r.Context(), pairTimeout)
	defer cancel()
	pairing, err := c.workers.Pair(ctx, phone)
	if err != nil {
		// A request that was made has ended the code before it.
		if slices.ContainsFunc(pairingRefusals, func(refusal error) bool { return errors.Is(err, refusal) }) {
			c.session.Paired(time.Time{})
		}
		return c.failed("pair", err)
	}
	// The code goes to the caller alone, its expiry to everybody.
	expires := time.Now().Add(pairing.TTL).UTC()
	c.session.Paired(expires)
	return object{http.StatusOK, pairBody{Code: string(pairing.Code), ExpiresAt: expires}}
}

var phoneInvalid = problem{
	Status: http.StatusUnprocessableEntity, Code: "phone_invalid",
	Detail: "The phone number is not in international form.",
	Hint:   "Write a plus sign, then the country code and the number, 8 to 15 digits.",
}

// separators are what people write between digits, and what a text that was copied has around
// them: spaces and hyphens of all kinds, and marks of the direction of writing.
var separators = regexp.MustCompile(`[-\s()./\p{Z}\p{Pd}\p{Cf}]+`)

// exit is dialled before the country code instead of the plus sign (ITU-T E.123).
var exit = regexp.MustCompile(`^00`)

// parsePhone returns the digits of a number in international form.
func parsePhone(text string) (rpc.Secret, bool) {
	number, ok := strings.CutPrefix(exit.ReplaceAllString(separators.ReplaceAllString(text, ""), "+"), "+")
	if phone := rpc.Secret(number); ok && rpc.ValidRecipient(phone+rpc.ServerPhone) {
		return phone, true
	}
	return "", false
}

type logOutBody struct {
	LoggedOut bool `json:"logged_out"`
	// Quarantined names the folder that the old login was moved to, or Detail explains why
	// it was not.
	Quarantined string `json:"quarantined,omitempty"`
	Detail      string `json:"detail,omitempty"`
}

// logOut answers POST /session/logout: the link is ended on both sides, and the
// next QR is that of an empty profile. With ?purge=true neither this login nor
// earlier ones are kept on disk.
func (c *commands) logOut(r *http.Request) http.Handler {
	purge, bad := flag(r, "purge")
	if bad != nil {
		return bad
	}
	// It is completed even if the caller disconnects.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), logOutTimeout)
	defer cancel()
	done, err := c.login.LogOut(ctx, purge)
	if err != nil {
		return c.failed("logout", err)
	}
	status := http.StatusOK
	if done.Pending {
		status = http.StatusAccepted
	}
	return object{status, logOutBody{LoggedOut: true, Quarantined: done.Quarantined, Detail: done.Detail}}
}

// refusal is the answer to an error.
type refusal struct {
	err error
	problem
}

// refusals are the answers to commands that the page, or the present state, does
// not allow.
var refusals = []refusal{
	{rpc.ErrPhoneRefused, problem{
		Status: http.StatusUnprocessableEntity, Code: "phone_refused",
		Detail: "WhatsApp rejects the phone number.", Hint: "Check the number; it must have a WhatsApp account.",
	}},
	{rpc.ErrNotUnlinked, problem{
		Status: http.StatusConflict, Code: "not_unlinked",
		Detail: "The page does not ask for a phone.", Hint: "Pairing works while GET /status is QR_REQUIRED.",
	}},
	{rpc.ErrNotLinked, problem{
		Status: http.StatusConflict, Code: "not_linked", Detail: "No phone is linked, so there is nothing to log out of.",
	}},
	{rpc.ErrTooManyAttempts, problem{
		Status: http.StatusTooManyRequests, Code: "too_many_attempts", retryAfter: pairRetry,
		Detail: "WhatsApp gives no more codes for now.", Hint: "Scan the QR instead, or wait.",
	}},
	{rpc.ErrPairingForbidden, problem{
		Status: http.StatusForbidden, Code: "pairing_forbidden",
		Detail: "WhatsApp does not allow a code for this number.", Hint: "Scan the QR instead.",
	}},
	{rpc.ErrPairingFailed, problem{
		Status: http.StatusBadGateway, Code: "pairing_failed",
		Detail: "WhatsApp answered the request for a code with an error.", Hint: "Try again later, or scan the QR.",
	}},
	{rpc.ErrPairingTimeout, problem{
		Status: http.StatusGatewayTimeout, Code: "pairing_timeout",
		Detail: "WhatsApp did not answer the request for a code.", Hint: "Try again later, or scan the QR.",
	}},
	{rpc.ErrPairingUnavailable, problem{
		Status: http.StatusNotImplemented, Code: "pairing_unavailable",
		Detail: "The page offers no pairing by phone number.", Hint: "Scan the QR instead.",
	}},
	{login.ErrNotErased, problem{
		Status: http.StatusInternalServerError, Code: "not_erased",
		Detail: "The session is logged out, but something of the login could not be erased.",
		Hint:   "Look for login_erase_failed in the log, remove what it names, and log out with purge=true again.",
	}},
	{context.DeadlineExceeded, problem{
		Status: http.StatusGatewayTimeout, Code: "command_timeout",
		Detail: "The worker did not answer in time.", Hint: "GET /session shows what it is busy with.",
	}},
	{worker.ErrNoWorker, noPage},
	{rpc.ErrWorkerGone, noPage},
	{rpc.ErrNoPage, noPage},
}

// refused returns the answer to err, if there is one.
func refused(err error, all []refusal) (problem, bool) {
	for _, r := range all {
		if errors.Is(err, r.err) {
			return r.problem, true
		}
	}
	return problem{}, false
}

var noPage = problem{
	Status: http.StatusServiceUnavailable, Code: "no_page",
	Detail: "There is no page at the moment.", Hint: "GET /session shows what the service is busy with.",
}

// pageLacks is the answer when the page is not ready, or no longer has what it takes, as detail
// says, with a hint. It is false for other codes.
func pageLacks(code rpc.SendCode, detail, hint string) (bad problem, ok bool) {
	switch code {
	case rpc.SendNotReady:
		return noPage, true
	case rpc.SendPagePathGone:
		return problem{Status: http.StatusNotImplemented, Code: "page_path_gone", Detail: detail, Hint: hint}, true
	}
	return problem{}, false
}

// failed answers a command that failed. Its error may repeat a text of the page.
func (c *commands) failed(command string, err error) problem {
	c.log.Warn(logid.CommandFailed, "command", command, logging.KeyError, logging.Redact(err.Error()))
	if bad, ok := refused(err, refusals); ok {
		return bad
	}
	return problem{
		Status: http.StatusServiceUnavailable, Code: "command_failed",
		Detail: "The worker could not do this now.", Hint: "GET /session shows what it is busy with.",
	}
}
