package page

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"time"

	"github.com/go-rod/rod/lib/cdp"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/logging"
	"session-manager/worker/internal/page/judge"
	"session-manager/worker/internal/page/knowledge"
	"session-manager/worker/internal/page/login"
)

//go:embed observe.js
var observeJS string

//go:embed hint.js
var hintJS string

// Names in the page. The binding and its world can't be seen by the page; the
// DOM event could be, by a page that listens for just this name.
const (
	hintWorld   = "hint"
	hintBinding = "hint"
	pingEvent   = "socketping"
)

// errStale means that the document went away while it was looked at.
var errStale = errors.New("the document went away")

// scripts are the expressions that set up a document.
type scripts struct{ observe, hint string }

func newScripts(k *knowledge.Knowledge) (scripts, error) {
	all, err := json.Marshal(k)
	if err != nil {
		return scripts{}, fmt.Errorf("cannot encode knowledge: %w", err)
	}
	type forHints struct {
		Code      string   `json:"code"`
		Attribute string   `json:"attribute"`
		Overlay   string   `json:"overlay"`
		Picture   string   `json:"picture"`
		Selectors []string `json:"selectors"`
		Calm      []string `json:"calm"`
	}
	h := forHints{Code: k.DOM.Code, Attribute: k.DOM.CodeAttribute, Overlay: k.DOM.Overlay, Picture: k.DOM.Picture, Calm: []string{}}
	h.Selectors = []string{k.DOM.Splash, k.DOM.AutoLogoutFrame}
	for _, s := range k.Screens {
		h.Selectors = append(h.Selectors, s.Selectors...)
		if s.Name == knowledge.ScreenMain {
			h.Calm = append(h.Calm, s.Selectors...)
		}
	}
	some, err := json.Marshal(h)
	if err != nil {
		return scripts{}, fmt.Errorf("cannot encode knowledge: %w", err)
	}
	return scripts{
		observe: fmt.Sprintf("(%s)(%s, %q)", strip(observeJS, "(function"), all, pingEvent),
		hint:    fmt.Sprintf("(%s)(%s, %q, %q)", strip(hintJS, "(function"), some, pingEvent, hintBinding),
	}, nil
}

// strip removes what comes before the first words of the code, and the line
// break after it.
func strip(script, first string) string {
	return strings.TrimSpace(script[max(0, strings.Index(script, first)):])
}

// observer is the object in one document that looks at it.
type observer struct {
	document int
	object   proto.RuntimeRemoteObjectID
}

// record is what observe.js returns.
type record struct {
	URL             string       `json:"url"`
	Status          int          `json:"status"`
	Splash          bool         `json:"splash"`
	Mount           bool         `json:"mount"`
	Loader          bool         `json:"loader"`
	Version         string       `json:"version"`
	Visible         bool         `json:"visible"`
	Online          bool         `json:"online"`
	NetworkOnline   *bool        `json:"networkOnline"`
	Registered      *bool        `json:"registered"`
	Socket          string       `json:"socket"`
	Stream          string       `json:"stream"`
	Mode            string       `json:"mode"`
	HasSynced       *bool        `json:"hasSynced"`
	Ref             string       `json:"ref"`
	RefTTL          float64      `json:"refTTL"`
	Shown           string       `json:"shown"`
	Assembled       string       `json:"assembled"`
	Buttons         []string     `json:"buttons"`
	Opacity         float64      `json:"opacity"`
	AutoLogoutFrame bool         `json:"autoLogoutFrame"`
	Screens         []judge.Sign `json:"screens"`
	Progress        float64      `json:"progress"`
}

// install puts the observer and the hints into the current document.
func (p *Page) install(ctx context.Context, document int) (*observer, error) {
	page := p.rod.Context(ctx)
	made, err := proto.RuntimeEvaluate{Expression: p.scripts.observe}.Call(page)
	if err != nil {
		return nil, fmt.Errorf("cannot install observer: %w", stale(err))
	}
	if made.ExceptionDetails != nil {
		return nil, fmt.Errorf("cannot install observer: %s", exception(made.ExceptionDetails))
	}
	// A binding that is added before its document would need the Runtime domain.
	world, err := proto.PageCreateIsolatedWorld{FrameID: p.main, WorldName: hintWorld}.Call(page)
	if err != nil {
		return nil, fmt.Errorf("cannot create world for hints: %w", stale(err))
	}
	// rod's type lacks the name of the context.
	binding := map[string]string{"name": hintBinding, "executionContextName": hintWorld}
	if _, err := page.Call(ctx, string(page.SessionID), proto.RuntimeAddBinding{}.ProtoReq(), binding); err != nil {
		return nil, fmt.Errorf("cannot add binding for hints: %w", stale(err))
	}
	hinted, err := proto.RuntimeEvaluate{Expression: p.scripts.hint, ContextID: world.ExecutionContextID}.Call(page)
	if err != nil {
		return nil, fmt.Errorf("cannot install hints: %w", stale(err))
	}
	if hinted.ExceptionDetails != nil {
		return nil, fmt.Errorf("cannot install hints: %s", exception(hinted.ExceptionDetails))
	}
	return &observer{document: document, object: made.Result.ObjectID}, nil
}

// call runs a method of the observer and decodes what it returns into v.
func (p *Page) call(ctx context.Context, o *observer, method string, v any) error {
	res, err := proto.RuntimeCallFunctionOn{
		ObjectID:            o.object,
		FunctionDeclaration: "function () { return this." + method + "(); }",
		ReturnByValue:       true,
		AwaitPromise:        true,
	}.Call(p.rod.Context(ctx))
	if err != nil {
		return fmt.Errorf("cannot observe page: %w", stale(err))
	}
	if res.ExceptionDetails != nil {
		return fmt.Errorf("cannot observe page: %s", exception(res.ExceptionDetails))
	}
	raw, err := res.Result.Value.MarshalJSON()
	if err != nil {
		return fmt.Errorf("cannot read observation: %w", err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("cannot read observation: %w", err)
	}
	return nil
}

// exception is the text of a script's error, without the values in it.
func exception(e *proto.RuntimeExceptionDetails) string {
	if e.Exception != nil && e.Exception.ClassName != "" {
		return fmt.Sprintf("%s at %d:%d", e.Exception.ClassName, e.LineNumber, e.ColumnNumber)
	}
	return truncate(e.Text, 100)
}

// stale maps the answers of Chrome that only mean that the document has been
// replaced to errStale.
func stale(err error) error {
	e, ok := errors.AsType[*cdp.Error](err)
	if !ok {
		return err
	}
	for _, part := range []string{
		"context", "Could not find object", "navigated or closed", "Promise was collected",
		"Not attached to an active page", "No frame for given id",
	} {
		if strings.Contains(e.Message, part) {
			return errStale
		}
	}
	return err
}

// isLost tells whether err means that Chrome, or the session with the page, is
// no more.
func isLost(err error) bool {
	return errors.Is(err, errGone) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, cdp.ErrSessionNotFound)
}

// lookOf translates a record for the judge.
func (p *Page) lookOf(r record, document int, now time.Time) judge.Look {
	l := judge.Look{
		Document:       document,
		ErrorPage:      strings.HasPrefix(r.URL, "chrome-error:"),
		UnsupportedURL: containsAny(r.URL, p.k.URLs.Unsupported),
		Status:         r.Status,
		Splash:         r.Splash, Mount: r.Mount, Loader: r.Loader, Version: r.Version,
		Screens: r.Screens, Progress: percent(r.Progress),
		Online: r.Online && (r.NetworkOnline == nil || *r.NetworkOnline),
		Socket: p.k.SocketStates[r.Socket], HasSynced: r.HasSynced,
		Ref: login.Ref(r.Ref), RefTTL: time.Duration(r.RefTTL * float64(time.Millisecond)),
		Buttons: r.Buttons, Opacity: r.Opacity, AutoLogoutFrame: r.AutoLogoutFrame,
	}
	if !l.ErrorPage {
		l.Registered = r.Registered
	}
	dom := p.reading(judge.ReaderDOM, r.Shown, now)
	if !dom.Found && r.Ref != "" && strings.Contains(r.Shown, r.Ref) {
		// The page shows a code of a form that is new to us. Put together in the
		// old form it would not be what is on the screen.
		r.Assembled = ""
	}
	l.Readings = []judge.Reading{dom, p.reading(judge.ReaderModules, r.Assembled, now)}
	return l
}

// reading parses what a reader found. What no phone would accept is nothing.
func (p *Page) reading(reader judge.Reader, found string, now time.Time) judge.Reading {
	r := judge.Reading{Reader: reader, At: now}
	if found == "" {
		return r
	}
	code, err := p.shape.Parse(found)
	if err != nil {
		p.refused(reader, err)
		return r
	}
	r.Found, r.Code = true, code
	return r
}

// refused logs why a reader's string is not served, once per reader and reason.
func (p *Page) refused(reader judge.Reader, err error) {
	if p.refusals[reader] == err.Error() {
		return
	}
	p.refusals[reader] = err.Error()
	p.log.Warn("what the page shows is no login string", logging.KeyReader, string(reader), logging.KeyError, err)
}

func percent(f float64) int {
	if math.IsNaN(f) || f < 0 {
		return -1
	}
	return int(math.Min(math.Round(f), 100))
}
