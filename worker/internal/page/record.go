package page

import (
	"log/slog"
	"math"
	"net/url"
	"strings"
	"time"

	"session-manager/shared/logging"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/classify"
	"session-manager/worker/internal/page/qrpayload"
)

// record is what observe.js returns.
type record struct {
	URL             string          `json:"url"`
	Status          int             `json:"status"`
	Splash          bool            `json:"splash"`
	Mount           bool            `json:"mount"`
	Loader          bool            `json:"loader"`
	Version         string          `json:"version"`
	Visible         bool            `json:"visible"`
	Online          bool            `json:"online"`
	NetworkOnline   *bool           `json:"networkOnline"`
	Registered      *bool           `json:"registered"`
	Socket          string          `json:"socket"`
	Stream          string          `json:"stream"`
	LinkMethod      string          `json:"linkMethod"`
	Remains         bool            `json:"remains"`
	Mode            string          `json:"mode"`
	HasSynced       *bool           `json:"hasSynced"`
	Ref             string          `json:"ref"`
	RefTTL          float64         `json:"refTTL"`
	Shown           string          `json:"shown"`
	Assembled       string          `json:"assembled"`
	Buttons         []string        `json:"buttons"`
	Opacity         float64         `json:"opacity"`
	AutoLogoutFrame bool            `json:"autoLogoutFrame"`
	Screens         []classify.Sign `json:"screens"`
	Progress        float64         `json:"progress"`
	Uncaught        []string        `json:"uncaught"`
}

// lookOf translates a record for the judge.
func (l *loop) lookOf(r record, document int, now time.Time) classify.Observation {
	look := classify.Observation{
		Document: document,
		Navigation: classify.Navigation{
			ErrorPage:      strings.HasPrefix(r.URL, "chrome-error:"),
			UnsupportedURL: containsAny(r.URL, l.through.k.URLs.Unsupported),
			Status:         r.Status,
		},
		Drawn: classify.Drawn{
			Splash: r.Splash, Mount: r.Mount, Screens: r.Screens, Progress: percent(r.Progress),
			Buttons: r.Buttons, Opacity: r.Opacity, AutoLogoutFrame: r.AutoLogoutFrame,
		},
		Modules: classify.Modules{
			Loader: r.Loader, Version: r.Version, Socket: l.through.k.SocketStates[r.Socket], Method: l.through.k.Methods[r.LinkMethod],
			HasSynced: r.HasSynced, Ref: qrpayload.Ref(r.Ref), RefTTL: time.Duration(r.RefTTL * float64(time.Millisecond)),
		},
		Online:       r.Online && (r.NetworkOnline == nil || *r.NetworkOnline),
		PairingUntil: l.pairingUntil(document), Busy: l.busy.Load(), Quiet: l.quiet(now),
	}
	if look.Navigation.ErrorPage {
		look.Navigation.Failure = l.failure
	}
	if sameOrigin(r.URL, l.o.URL) { // The storage of another site proves nothing.
		look.Storage = classify.Storage{Registered: r.Registered, Remains: r.Remains}
	}
	dom := l.reading(selectors.ReaderDOM, r.Shown, now)
	if !dom.Found && l.through.uses(selectors.ReaderDOM) && r.Ref != "" && strings.Contains(r.Shown, r.Ref) {
		// The page shows a code of a form that is new to us. Put together in the
		// old form it would not be what is on the screen.
		r.Assembled = ""
	}
	look.Readings = []classify.Reading{dom, l.reading(selectors.ReaderModules, r.Assembled, now)}
	return look
}

// reading parses what a reader found. What no phone would accept is nothing.
func (l *loop) reading(reader selectors.Reader, found string, now time.Time) classify.Reading {
	r := classify.Reading{Reader: reader, At: now}
	if found == "" || !l.through.uses(reader) {
		return r
	}
	code, err := l.through.shape.Parse(found)
	if err != nil {
		l.refused(reader, err)
		r.Err = err
		return r
	}
	r.Found, r.Code = true, code
	return r
}

// refused logs why a reader's string is not served, once per reader and reason.
func (l *loop) refused(reader selectors.Reader, err error) {
	if l.refusals[reader] == err.Error() {
		return
	}
	l.refusals[reader] = err.Error()
	l.log.Warn(logid.QRPayloadRejected, logging.KeyReader, string(reader), logging.KeyError, err)
}

// words are what the page's modules call their states.
type words struct {
	socket, stream, mode string
	visible              bool
}

// note logs the page's own words for its state when they change.
func (l *loop) note(r record) {
	now := words{r.Socket, r.Stream, r.Mode, r.Visible}
	if now == l.words {
		return
	}
	l.words = now
	_, known := l.through.k.SocketStates[r.Socket]
	level := slog.LevelDebug
	if r.Socket != "" && !known || !r.Visible {
		level = slog.LevelWarn // It will be misjudged, or it will be slow.
	}
	l.log.Log(l.life, level, logid.PageStateChanged, slog.String(logging.KeyState, r.Socket),
		slog.String("stream", r.Stream), slog.String("mode", r.Mode), slog.Bool("visible", r.Visible))
}

// sameOrigin tells whether two addresses share their storage.
func sameOrigin(a, b string) bool {
	x, errX := url.Parse(a)
	y, errY := url.Parse(b)
	return errX == nil && errY == nil && x.Scheme == y.Scheme && x.Host == y.Host
}

func percent(f float64) int {
	if math.IsNaN(f) || f < 0 {
		return -1
	}
	return int(math.Min(math.Round(f), 100))
}
