package api

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"session-manager/supervisor/internal/apikey"
	"session-manager/supervisor/internal/logid"
)

// access is what a route asks of its caller. It is part of the route's row, so
// that none can be forgotten.
type access int

const (
	// open: anybody. Such an answer tells nothing about the account.
	open access = iota
	// read: with a key when the API can be reached from beyond the loopback.
	read
	// command: with a key whenever one is set, and not too often.
	command
)

// Commands are few: a person, or a watchdog. The bucket fills by one each
// commandEvery up to commandBurst.
const (
	commandEvery = 2 * time.Second
	commandBurst = 5
)

func newCommandLimit() *rate.Limiter { return rate.NewLimiter(rate.Every(commandEvery), commandBurst) }

// admit returns what to answer instead when r may not use a route with this
// access.
func (a *api) admit(need access, r *http.Request) *problem {
	if bad := a.authorise(need, r); bad != nil {
		return bad
	}
	if need != command {
		return nil
	}
	turn := a.commands.Reserve()
	wait := turn.Delay()
	if wait == 0 {
		return nil
	}
	turn.Cancel()
	return &problem{
		status: http.StatusTooManyRequests, code: "too_many_commands", retryAfter: wait,
		detail: fmt.Sprintf("At most %d commands in a row are allowed, then one each %s.", commandBurst, commandEvery),
	}
}

func (a *api) authorise(need access, r *http.Request) *problem {
	if a.Keys == nil {
		return nil
	}
	keys := a.Keys()
	if keys == nil || need == open || need == read && !a.ReadNeedsKey {
		return nil
	}
	want := apikey.Read
	if need == command {
		want = apikey.Command
	}
	key := presentedKey(r)
	scope := keys.Scope(key)
	switch {
	case scope.Has(want):
		return nil
	case scope != 0:
		return &problem{
			status: http.StatusForbidden, code: "scope_missing",
			detail: "This key does not allow it.", hint: "Use a key of the other scope, or one without.",
		}
	}
	p := problem{
		status: http.StatusUnauthorized, code: "key_required", askForKey: true,
		detail: "This needs an API key.", hint: "Send it as X-API-Key, or as Authorization: Bearer.",
	}
	if key != "" {
		p.code, p.detail = "key_unknown", "This API key is not known."
		a.refusals.Do(func() { a.Logger.Warn(logid.KeyRejected, "remote", r.RemoteAddr, "route", r.URL.Path) })
	}
	return &p
}

// presentedKey returns the key that r carries, or nothing. A browser sends it as
// the password of Basic authentication; the user's name is of no interest.
func presentedKey(r *http.Request) string {
	if key := r.Header.Get("X-Api-Key"); key != "" {
		return key
	}
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(key)
	}
	return ""
}

// challenge makes browsers ask for the key, and from then on send it with every
// request of the page.
func challenge(h http.Header) {
	h.Add("WWW-Authenticate", `Bearer realm="session-manager"`)
	h.Add("WWW-Authenticate", `Basic realm="session-manager: the API key is the password", charset="UTF-8"`)
}

func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
