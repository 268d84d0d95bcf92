package api

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"
	"golang.org/x/time/rate"

	"session-manager/supervisor/internal/apikey"
	"session-manager/supervisor/internal/logid"
)

// access is what a route requires of its caller. It is part of the route's row,
// so that none can be forgotten.
type access int

const (
	// open: anybody. Such an answer reveals nothing about the account.
	open access = iota
	// read: with a key when the API can be reached from beyond the loopback.
	read
	// command: with a key whenever one is set, and not too often.
	command
	// send and receive: with a key whenever one is set.
	send
	receive
	// exchange: receive to read, and otherwise send.
	exchange
)

// of is what a method needs.
func (a access) of(method string) access {
	switch {
	case a != exchange:
		return a
	case method == http.MethodGet || method == http.MethodHead:
		return receive
	}
	return send
}

// scopes are what a key must allow, by the access of the route.
var scopes = map[access]apikey.Scope{read: apikey.Read, command: apikey.Command, send: apikey.Send, receive: apikey.Receive}

// Commands are few: a person, or a watchdog. Each has a bucket of its own, which fills by
// one each commandEvery up to commandBurst.
const (
	commandEvery = 2 * time.Second
	commandBurst = 5
)

// gate decides who may call which route.
type gate struct {
	hosts        []string
	keys         func() *apikey.Keys
	readNeedsKey bool
	commands     sync.Map // *rate.Limiter by path
	// refusals keeps a guesser from filling the log.
	refusals rate.Sometimes
	log      *slog.Logger
}

func newGate(o Options) *gate {
	return &gate{
		hosts: o.AllowedHosts, keys: o.Keys, readNeedsKey: o.ReadNeedsKey, log: o.Logger,
		refusals: rate.Sometimes{First: 5, Interval: 10 * time.Second},
	}
}

// admit returns the problem to answer with if r may not use this route.
func (g *gate) admit(rt route, r *http.Request) *problem {
	if bad := g.authorise(rt.access.of(r.Method), r); bad != nil {
		return bad
	}
	if rt.access != command {
		return nil
	}
	if r.Header.Get("Sec-Purpose") != "" {
		return &problem{
			Status: http.StatusForbidden, Code: "origin_refused",
			Detail: "A browser has loaded this in advance (Sec-Purpose), but nobody has asked for it yet.",
		}
	}
	bucket, _ := g.commands.LoadOrStore(rt.path, rate.NewLimiter(rate.Every(commandEvery), commandBurst))
	turn := bucket.(*rate.Limiter).Reserve()
	wait := turn.Delay()
	if wait == 0 {
		return nil
	}
	turn.Cancel()
	return &problem{
		Status: http.StatusTooManyRequests, Code: "too_many_commands", retryAfter: wait,
		Detail: fmt.Sprintf("At most %d of this command in a row are allowed, then one every %s.", commandBurst, commandEvery),
	}
}

func (g *gate) authorise(need access, r *http.Request) *problem {
	keys := g.keys()
	if keys == nil || need == open || need == read && !g.readNeedsKey {
		return nil
	}
	key := presentedKey(r)
	scope := keys.Scope(key)
	switch {
	case scope.Has(scopes[need]):
		return nil
	case scope != 0:
		return &problem{
			Status: http.StatusForbidden, Code: "scope_missing",
			Detail: "The scope of this API key does not include this route.",
			Hint:   fmt.Sprintf("Use a key with the scope %s, or one without a scope.", scopes[need]),
		}
	}
	p := problem{
		Status: http.StatusUnauthorized, Code: "key_required", askForKey: true,
		Detail: "An API key is required.", Hint: "Send it as X-API-Key, or as Authorization: Bearer.",
	}
	if key != "" {
		p.Code, p.Detail = "key_unknown", "This API key is not known."
		g.refusals.Do(func() { g.log.Warn(logid.KeyRejected, "remote", r.RemoteAddr, "route", pattern(r)) })
	}
	return &p
}

// pattern returns the route of r. Its path may have a phone number.
func pattern(r *http.Request) string {
	if matched := mux.CurrentRoute(r); matched != nil {
		if path, err := matched.GetPathTemplate(); err == nil {
			return path
		}
	}
	return noRoute
}

// presentedKey returns the key that r carries, or nothing. A browser sends it as
// the password of Basic authentication; the user name is ignored.
func presentedKey(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok && r.Header.Get(keyHeader) == "" {
		return password
	}
	return clientKey(r)
}

const keyHeader = "X-Api-Key"

// clientKey returns the key that a program put into r. No browser sends it for a page
// that does not know it, unlike a password that it remembers.
func clientKey(r *http.Request) string {
	if key := r.Header.Get(keyHeader); key != "" {
		return key
	}
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(key)
	}
	return ""
}

// guard passes on a request only if it names this service as its host, and does
// not come from another site's page. Otherwise a web page that the operator visits
// could read the QR by DNS rebinding, or press buttons by a cross-site request.
func (g *gate) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if keys, key := g.keys(), clientKey(r); keys != nil && key != "" && keys.Scope(key) != 0 {
			next.ServeHTTP(w, r)
			return
		}
		if !g.hostAllowed(r) {
			problem{
				Status: http.StatusForbidden, Code: "host_refused",
				Detail: "The Host header does not name this service.",
				Hint:   fmt.Sprintf("Use localhost or an IP address, or start the supervisor with --allow-host=%.100s.", hostname(r.Host)),
			}.ServeHTTP(w, r)
			return
		}
		if origin := r.Header.Get("Origin"); !g.sameOrigin(r.Header.Get("Sec-Fetch-Site"), origin, r.Host) && !opensPage(r) {
			p := problem{
				Status: http.StatusForbidden, Code: "origin_refused",
				Detail: "The request was sent by another site's page.",
			}
			if u, err := url.Parse(origin); err == nil && u.Host != "" {
				p.Hint = fmt.Sprintf("If that is this service's own page behind a reverse proxy, start the supervisor with --allow-host=%.100s.", u.Hostname())
			}
			p.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostname returns the name or address in a Host header.
func hostname(host string) string { return (&url.URL{Host: host}).Hostname() }

// hostAllowed reports whether r's Host can't be a name that leads to its owner's server
// one time and to this service the next. That needs a name, and a browser always sends it; one
// without a dot can't be registered, but a network may give it out (resolv.conf(5), search).
// Through a Unix socket no network comes.
func (g *gate) hostAllowed(r *http.Request) bool {
	name := hostname(r.Host)
	if name == "" || strings.EqualFold(name, "localhost") || g.named(name) {
		return true
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		return !addr.IsUnspecified()
	}
	_, local := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr)
	return local && !strings.Contains(name, ".")
}

// named reports whether the operator has allowed this name.
func (g *gate) named(name string) bool {
	return slices.ContainsFunc(g.hosts, func(h string) bool { return strings.EqualFold(h, name) })
}

// opensPage reports whether r is a person who follows another site's link to the
// page. The other site learns nothing from it, and the page can't be framed.
func opensPage(r *http.Request) bool {
	return r.URL.Path == pagePath && (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// sameOrigin decides by two headers that pages can't forge (Fetch Metadata, Fetch). A
// browser that sends site knows the address in its window, which a reverse proxy may have
// replaced in host. It is not sent to plain HTTP beyond the loopback, and other clients send
// neither.
func (g *gate) sameOrigin(site, origin, host string) bool {
	switch site {
	case "same-origin":
		return true
	case "cross-site", "same-site":
		return false
	}
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && (strings.EqualFold(u.Host, host) || g.named(u.Hostname()))
}
