package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"
	"golang.org/x/time/rate"

	"session-manager/shared/rpc"
)

// Each look-up is a query to WhatsApp, so they are few: one each lookupEvery once lookupBurst
// were made. What was found is remembered; a number that is not on WhatsApp may be soon.
const (
	lookupEvery   = 3 * time.Second
	lookupBurst   = 10
	lookupTimeout = 20 * time.Second
	rememberYes   = 5 * time.Minute
	rememberNo    = 15 * time.Second
)

// contacts answers whether numbers are on WhatsApp.
type contacts struct {
	commands *commands
	budget   *rate.Limiter

	mu sync.Mutex
	// known is bounded by the budget. It has what was found by the number that was asked for.
	known map[rpc.Secret]remembered // guarded by mu
}

type remembered struct {
	contactBody
	until time.Time
}

type contactBody struct {
	OnWhatsApp bool `json:"on_whatsapp"`
	// Phone is the number as WhatsApp writes it.
	Phone    string `json:"phone"`
	LID      string `json:"lid,omitempty"`
	Business bool   `json:"business"`
}

func newContacts(c *commands) *contacts {
	return &contacts{commands: c, budget: rate.NewLimiter(rate.Every(lookupEvery), lookupBurst), known: map[rpc.Secret]remembered{}}
}

// show answers GET /contacts/{phone}.
func (c *contacts) show(r *http.Request) http.Handler {
	phone, ok := parsePhone(mux.Vars(r)["phone"])
	if !ok {
		return phoneInvalid
	}
	if body, ok := c.recall(phone, time.Now()); ok {
		return object{http.StatusOK, body}
	}
	if !linked(c.commands.session.Snapshot()) {
		return notLinked
	}
	turn := c.budget.Reserve()
	if wait := turn.Delay(); wait > 0 {
		turn.Cancel()
		return problem{
			Status: http.StatusTooManyRequests, Code: "too_many_lookups", retryAfter: wait,
			Detail: fmt.Sprintf("At most %d numbers in a row are looked up, then one every %s.", lookupBurst, lookupEvery),
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), lookupTimeout)
	defer cancel()
	found, err := c.commands.workers.Contact(ctx, phone)
	if failed, ok := errors.AsType[*rpc.SendError](err); ok {
		return lookupFailed(failed.Code)
	}
	if err != nil {
		return c.commands.failed("contact", err)
	}
	body := contactBody{OnWhatsApp: found.OnWhatsApp, Phone: "+" + string(phone), LID: string(found.LID), Business: found.Business}
	if digits := strings.TrimSuffix(string(found.Phone), rpc.ServerPhone); digits != "" {
		body.Phone = "+" + digits
	}
	c.remember(phone, body, time.Now())
	return object{http.StatusOK, body}
}

func (c *contacts) recall(phone rpc.Secret, now time.Time) (contactBody, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.known[phone]
	return known.contactBody, ok && now.Before(known.until)
}

func (c *contacts) remember(phone rpc.Secret, body contactBody, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other, known := range c.known {
		if !now.Before(known.until) {
			delete(c.known, other)
		}
	}
	life := rememberNo
	if body.OnWhatsApp {
		life = rememberYes
	}
	c.known[phone] = remembered{body, now.Add(life)}
}

// lookupFailed is the answer when WhatsApp was not asked, or gave no answer, which is never
// a "no".
func lookupFailed(code rpc.SendCode) problem {
	if bad, ok := pageLacks(code, "The page no longer has what numbers are looked up with.", "GET /session has more under sending; newer selectors may help."); ok {
		return bad
	}
	return problem{
		Status: http.StatusBadGateway, Code: "lookup_failed", Detail: "WhatsApp did not answer whether the number has an account.", Hint: "Try again later.",
	}
}
