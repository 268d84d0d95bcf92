package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/worker"
)

// Bounds of what the page does for a command. Both stay below the server's write
// timeout.
const (
	// pairTimeout: the page may have to be operated as a person would.
	pairTimeout = 45 * time.Second
	// logOutTimeout: the page tells the server and wipes its login, Chrome
	// closes, the profile is moved.
	logOutTimeout = 60 * time.Second
	// pairRetry is what is told to wait when the page gives no more codes. It
	// does not say for how long; refusals of half an hour have been reported.
	pairRetry = 5 * time.Minute
)

// The digits of a phone number, E.164: at most 15 with the country code, which
// does not begin with a zero.
const (
	minPhone = 8
	maxPhone = 15
)

type pairRequest struct {
	Phone string `json:"phone"`
}

type pairBody struct {
	// Code is as good as a QR. This answer is the only place that it goes to.
	Code      string    `json:"code"`
	ExpiresAt time.Time `json:"expires_at"`
}

// pair answers POST /session/pair: a code that links the phone with that number
// when it is typed there.
func (a *api) pair(r *http.Request) response {
	var asked pairRequest
	if bad := input(r, &asked); bad != nil {
		return *bad
	}
	phone, ok := parsePhone(asked.Phone)
	if !ok {
		return problem{
			status: http.StatusUnprocessableEntity, code: "phone_invalid",
			detail: "The phone number is not in international form.",
			hint:   `Send {"phone": "+…"}: a plus sign, then the country code and the number, 8 to 15 digits.`,
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), pairTimeout)
	defer cancel()
	pairing, err := a.Commands.Pair(ctx, phone)
	if err != nil {
		return a.commandFailed("pair", err)
	}
	return object{http.StatusOK, pairBody{Code: string(pairing.Code), ExpiresAt: time.Now().Add(pairing.TTL).UTC()}}
}

// parsePhone returns the digits of a number in international form. What people
// put between them does not matter.
func parsePhone(text string) (rpc.Secret, bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), "+")
	digits := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -()\u00a0\u2010\u2011", r) {
			return -1
		}
		return r
	}, rest)
	if !ok || len(digits) < minPhone || len(digits) > maxPhone || digits[0] == '0' || strings.Trim(digits, "0123456789") != "" {
		return "", false
	}
	return rpc.Secret(digits), true
}

type logOutBody struct {
	LoggedOut bool `json:"logged_out"`
	// Quarantined names the folder that the old login lies in now.
	Quarantined string `json:"quarantined,omitempty"`
}

// logOut answers POST /session/logout: the link is ended on both sides, and the
// next QR is one of an empty profile. With ?purge=true nothing of the login, nor
// of earlier ones, is kept on disk.
func (a *api) logOut(r *http.Request) response {
	if bad := input(r, &struct{}{}); bad != nil {
		return *bad
	}
	purge, bad := flag(r, "purge")
	if bad != nil {
		return *bad
	}
	// It is done to the end though the caller may have left.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), logOutTimeout)
	defer cancel()
	moved, err := a.Commands.LogOut(ctx, purge)
	if err != nil {
		return a.commandFailed("logout", err)
	}
	return object{http.StatusOK, logOutBody{LoggedOut: true, Quarantined: moved}}
}

// flag reads a parameter that is true or false, and false when it is missing.
func flag(r *http.Request, name string) (bool, *problem) {
	switch r.URL.Query().Get(name) {
	case "", "false", "0":
		return false, nil
	case "true", "1":
		return true, nil
	}
	return false, &problem{
		status: http.StatusBadRequest, code: "bad_parameter",
		detail: "The parameter " + name + " is neither true nor false.",
	}
}

// refusals are what the page, or the present state, answers to a command.
var refusals = []struct {
	err error
	problem
}{
	{rpc.ErrPhoneRefused, problem{
		status: http.StatusUnprocessableEntity, code: "phone_refused",
		detail: "WhatsApp takes the phone number for wrong.", hint: "Check the number; it must have a WhatsApp account.",
	}},
	{rpc.ErrNotUnlinked, problem{
		status: http.StatusConflict, code: "not_unlinked",
		detail: "The page does not ask for a phone to be linked.", hint: "GET /status must say QR_REQUIRED.",
	}},
	{rpc.ErrNotLinked, problem{
		status: http.StatusConflict, code: "not_linked", detail: "No phone is linked, so there is nothing to log out of.",
	}},
	{rpc.ErrTooManyAttempts, problem{
		status: http.StatusTooManyRequests, code: "too_many_attempts", retryAfter: pairRetry,
		detail: "WhatsApp gives no more codes for a while.", hint: "Scan the QR instead, or wait.",
	}},
	{rpc.ErrPairingUnavailable, problem{
		status: http.StatusNotImplemented, code: "pairing_unavailable",
		detail: "The page offers no pairing by phone number.", hint: "Scan the QR instead.",
	}},
	{context.DeadlineExceeded, problem{
		status: http.StatusGatewayTimeout, code: "command_timeout",
		detail: "The worker did not answer in time.", hint: "GET /session says what it is busy with.",
	}},
	{worker.ErrNoWorker, noPage},
	{rpc.ErrWorkerGone, noPage},
	{rpc.ErrNoPage, noPage},
}

var noPage = problem{
	status: http.StatusServiceUnavailable, code: "no_page",
	detail: "There is no page to act on now.", hint: "GET /session says what the service is busy with.",
}

// commandFailed answers for a command that could not be done. Its error may
// repeat what the page said.
func (a *api) commandFailed(command string, err error) problem {
	a.Logger.Warn(logid.CommandFailed, "command", command, logging.KeyError, logging.Redact(err.Error()))
	for _, refusal := range refusals {
		if errors.Is(err, refusal.err) {
			return refusal.problem
		}
	}
	return problem{
		status: http.StatusServiceUnavailable, code: "command_failed",
		detail: "The worker could not do it now.", hint: "GET /session says what it is busy with.",
	}
}
