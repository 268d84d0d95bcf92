package observe

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
	"session-manager/worker/internal/page/target"
)

// answer is what observe.js returns, decoded by the names of the fields.
type answer struct {
	Document struct {
		classify.Drawn
		classify.Storage
		URL      string
		Status   int
		Visible  bool
		Online   bool
		Shown    string
		Progress float64
		Uncaught []string
	}
	Modules modulesAnswer
}

// modulesAnswer is what the page's modules answer, in their own words.
type modulesAnswer struct {
	classify.Modules
	Socket        string
	Stream        string
	Mode          string
	LinkMethod    string
	NetworkOnline *bool
	RefTTL        float64
	Assembled     string
}

// translate makes an observation of an answer.
func (o *Observer) translate(a answer, document int, now time.Time) classify.Observation {
	d, m, set := a.Document, a.Modules, o.current.scripts
	seen := classify.Observation{
		Document: document,
		Navigation: classify.Navigation{
			ErrorPage:      strings.HasPrefix(d.URL, "chrome-error:"),
			UnsupportedURL: target.ContainsAny(d.URL, set.URLs.Unsupported),
			Status:         d.Status,
		},
		Drawn: d.Drawn, Modules: m.Modules,
		Online: d.Online && (m.NetworkOnline == nil || *m.NetworkOnline),
	}
	seen.Drawn.Progress = percent(d.Progress)
	seen.Modules.Socket, seen.Modules.Method = set.Words.SocketStates[m.Socket], set.Words.LinkMethods[m.LinkMethod]
	seen.Modules.RefTTL = time.Duration(m.RefTTL * float64(time.Millisecond))
	if sameOrigin(d.URL, o.url) { // The storage of another site proves nothing.
		seen.Storage = d.Storage
	}
	dom := o.reading(selectors.ReaderDOM, d.Shown, now)
	if !dom.Found && set.Uses(selectors.ReaderDOM) && m.Ref != "" && strings.Contains(d.Shown, string(m.Ref)) {
		// The page shows a code of a form that is new to us. Assembled in the old
		// form it would not be what is on the screen.
		m.Assembled = ""
	}
	seen.Readings = []classify.Reading{dom, o.reading(selectors.ReaderModules, m.Assembled, now)}
	return seen
}

// reading parses what a reader found. What no phone would accept does not count.
func (o *Observer) reading(reader selectors.Reader, found string, now time.Time) classify.Reading {
	r := classify.Reading{Reader: reader, At: now}
	if found == "" || !o.current.scripts.Uses(reader) {
		return r
	}
	code, err := o.current.scripts.Parse(found)
	if err != nil {
		if o.refusals[reader] != err.Error() {
			o.refusals[reader] = err.Error()
			o.log.Warn(logid.QRPayloadRejected, logging.KeyReader, string(reader), logging.KeyError, err)
		}
		r.Err = err
		return r
	}
	r.Found, r.Code = true, code
	return r
}

// words are what the page's modules call their states.
type words struct {
	socket, stream, mode string
	visible              bool
}

// note logs the page's own words for its state when they change.
func (o *Observer) note(m modulesAnswer, visible bool) {
	now := words{m.Socket, m.Stream, m.Mode, visible}
	if now == o.words {
		return
	}
	o.words = now
	_, known := o.current.scripts.Words.SocketStates[m.Socket]
	level := slog.LevelDebug
	if m.Socket != "" && !known || !visible {
		level = slog.LevelWarn // It will be misunderstood, or it will be slow.
	}
	o.log.Log(o.target.Life, level, logid.PageStateChanged, slog.String(logging.KeyState, m.Socket),
		slog.String("stream", m.Stream), slog.String("mode", m.Mode), slog.Bool("visible", visible))
}

// sameOrigin reports whether two addresses share their storage.
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
