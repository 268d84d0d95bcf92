// Package diagnose describes what the page is made of, for a person who wants to
// know why the worker does not understand it. It leaves out what could be private.
//
// The outline covers closed shadow trees and frames, within 64 kB. Texts are cut and
// numbers masked, and on a linked page every letter is. The console is read without
// the Runtime domain, which a page can notice, so errors of workers, of frames in other
// processes and of earlier documents are missing.
package diagnose

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/proto"
	"golang.org/x/time/rate"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/observe"
	"session-manager/worker/internal/page/target"
)

// Diagnoser describes a page, and keeps the last errors and warnings of its console.
// It is safe for concurrent use.
//
// For the console the Log domain brings the browser's own complaints all the time,
// and V8 keeps those of a document (at most a thousand) and hands them out when the
// Console domain is turned on for a moment. Errors that no script has caught are not
// among them; the observer listens for these once it is there.
type Diagnoser struct {
	target *target.Target
	log    *slog.Logger
	turn   chan struct{} // holds one token
	lines  *rate.Limiter // of the log

	mu            sync.Mutex
	page, browser []string
	// marked is closed when the binding is called with mark.
	mark   string
	marked chan struct{}
}

// New returns the Diagnoser of a page.
func New(t *target.Target, log *slog.Logger) *Diagnoser {
	return &Diagnoser{target: t, log: log, turn: make(chan struct{}, 1), lines: rate.NewLimiter(complaintsPerSecond, mostComplaints)}
}

// Diagnose describes the page, one caller at a time. What it can't find out is
// left empty; it fails when it can't read the document.
func (d *Diagnoser) Diagnose(ctx context.Context, v observe.View) (rpc.Diagnosis, error) {
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return rpc.Diagnosis{}, ctx.Err()
	}
	found := rpc.Diagnosis{URL: addressOf(v.Address), PageVersion: v.Reported.PageVersion}
	for _, r := range selectors.AllReaders() {
		saw := v.Readers[r]
		if saw == "" {
			saw = "has not looked"
		}
		found.Readers = append(found.Readers, rpc.ReaderView{Reader: string(r), Saw: saw})
	}
	// The page can't lie about it in its isolated world.
	agentErr := d.target.Isolated(ctx, &found.UserAgent, "navigator.userAgent")
	found.UserAgent = logging.Truncate(found.UserAgent, longestComplaint)
	root, treeErr := d.target.Tree(ctx)
	switch {
	case treeErr == nil:
		found.Outline = d.owner(ctx) + outline(root, v.Reported.Registered)
	case errors.Is(treeErr, target.ErrTooLarge):
		found.Outline = "the document is too large for an outline\n"
	}
	var consoleErr error
	found.Console, consoleErr = d.complaints(ctx, v.Uncaught)
	if found.Outline == "" {
		if err := errors.Join(agentErr, treeErr, consoleErr); err != nil {
			return rpc.Diagnosis{}, fmt.Errorf("cannot diagnose page: %w", err)
		}
	}
	return found, nil
}

// owner is a line that names the origin of a document that is not the page's.
func (d *Diagnoser) owner(ctx context.Context) string {
	document, err := d.target.Document(ctx)
	if other, ok := errors.AsType[*target.ElsewhereError](err); ok {
		return "#document of " + other.Site() + ", which is not the page\n"
	}
	if err == nil {
		document.Release(ctx)
	}
	return ""
}

// Bounds of what is kept of the console, and logged: a page may make thousands in a second.
const (
	mostComplaints      = 50
	longestComplaint    = 300
	complaintsPerSecond = 5
)

// Handle is a handler for events.Listen.
func (d *Diagnoser) Handle(msg *rod.Message) {
	var (
		called    proto.RuntimeBindingCalled
		added     proto.ConsoleMessageAdded
		entry     proto.LogEntryAdded
		committed proto.PageFrameNavigated
	)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case msg.Load(&called):
		if d.mark != "" && called.Payload == d.mark {
			close(d.marked)
			d.mark = ""
		}
	case msg.Load(&added) && added.Message != nil:
		m := added.Message
		d.page = keep(d.page, string(m.Level), m.Text, m.URL, m.Line)
	case msg.Load(&entry) && entry.Entry != nil:
		e := entry.Entry
		d.browser = keep(d.browser, string(e.Level), string(e.Source)+": "+e.Text, e.URL, e.LineNumber)
		if e.Level == proto.LogLogEntryLevelError && d.lines.Allow() {
			d.log.Debug(logid.ConsoleMessageReceived, slog.String(logging.KeyLine, logging.Redact(logging.Truncate(e.Text, longestComplaint))),
				slog.String("source", string(e.Source)))
		}
	case msg.Load(&committed) && committed.Frame.ID == d.target.Page.FrameID:
		d.browser = nil
	}
}

// complaints returns the last errors and warnings: of the browser, of the page,
// and those that nobody caught, each oldest first.
func (d *Diagnoser) complaints(ctx context.Context, uncaught []string) ([]string, error) {
	d.mu.Lock()
	d.page = nil
	d.mu.Unlock()
	page := d.target.Page.Context(ctx)
	if err := (proto.ConsoleEnable{}).Call(page); err != nil {
		return nil, fmt.Errorf("cannot read console: %w", err)
	}
	if err := (proto.ConsoleDisable{}).Call(page); err != nil {
		return nil, fmt.Errorf("cannot silence console: %w", err)
	}
	if err := d.catchUp(ctx); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	all := slices.Concat(d.browser, d.page)
	for _, text := range uncaught {
		all = append(all, complaint("error", text, "", nil))
	}
	return all[max(0, len(all)-mostComplaints):], nil
}

// catchUp waits until all events that Chrome has sent were handled: it makes Chrome
// send one more. Without the binding for hints there is nothing to wait for.
func (d *Diagnoser) catchUp(ctx context.Context) error {
	mark := rand.Text()
	seen := d.expect(mark)
	defer d.expect("")
	var called bool
	err := d.target.Isolated(ctx, &called, fmt.Sprintf("typeof %s === 'function' && (%[1]s(%q), true)", target.Binding, mark))
	if err != nil || !called {
		return err
	}
	select {
	case <-seen:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// expect returns what is closed when the binding is called with mark.
func (d *Diagnoser) expect(mark string) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mark, d.marked = mark, make(chan struct{})
	return d.marked
}

// keep appends an error or a warning to the last ones.
func keep(list []string, level, text, address string, line *int) []string {
	if level != "error" && level != "warning" {
		return list
	}
	if len(list) >= mostComplaints {
		list = slices.Clone(list[len(list)-mostComplaints+1:])
	}
	return append(list, complaint(level, text, address, line))
}

// longNumber could be a phone's, or a chat's.
var longNumber = regexp.MustCompile(`[0-9]{6,}`)

// complaint is one line of the console, without what could be private.
func complaint(level, text, address string, line *int) string {
	text = strings.Join(strings.Fields(logging.Truncate(text, 4*longestComplaint)), " ")
	said := level + ": " + longNumber.ReplaceAllString(logging.Truncate(logging.Redact(text), longestComplaint), "[number]")
	if at := addressOf(address); at != "" {
		if line == nil {
			line = new(int)
		}
		said += fmt.Sprintf(" (%s:%d)", at, *line)
	}
	return said
}

// addressOf is an address without what could be private in it.
func addressOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return logging.Redact(logging.Truncate(u.String(), longestComplaint))
}

// Bounds of an outline.
const (
	outlineLimit  = 64 << 10
	longestText   = 48
	longestLabel  = 80
	longestRead   = 4 << 10
	deepestIndent = 40
)

var (
	// codeLike is what could be a pairing code, or a part of one.
	codeLike = regexp.MustCompile(`^[A-Z0-9 ,-]{1,17}$`)
	digits   = regexp.MustCompile(`[0-9]{2,}`)
	// spelled is a pairing code in a label, letter by letter.
	spelled = regexp.MustCompile(`(?:\b[A-Z0-9]\b[ ,-]*){4,}`)
)

// outline writes the elements below root, one a line, with what a reader might
// look for. Texts are cut. With secret, letters and digits of all texts and labels
// are masked, since with the chats on the screen they are private.
func outline(root *proto.DOMNode, secret bool) string {
	o := &outliner{secret: secret}
	o.walk(root, 0)
	if o.full {
		o.out.WriteString("… more follows\n")
	}
	return o.out.String()
}

type outliner struct {
	out    strings.Builder
	secret bool
	full   bool
}

func (o *outliner) walk(n *proto.DOMNode, depth int) {
	if n == nil || o.full {
		return
	}
	name := strings.ToLower(n.NodeName)
	switch {
	case n.NodeType == nodeElement:
		o.line(depth, name+o.attributes(n.Attributes))
	case n.NodeType == nodeText:
		if text := strings.TrimSpace(n.NodeValue); text != "" {
			o.line(depth, fmt.Sprintf("%q", o.mask(text, longestText)))
		}
	case n.ShadowRootType != "":
		o.line(depth, "#shadow-root "+string(n.ShadowRootType))
	}
	if slices.Contains([]string{"script", "style", "svg", "noscript"}, name) {
		return
	}
	if n.ContentDocument != nil {
		o.line(depth+1, "#document of the frame")
	}
	for _, child := range slices.Concat(n.ShadowRoots, []*proto.DOMNode{n.ContentDocument}, n.Children) {
		o.walk(child, depth+1)
	}
}

// Types of nodes, as the DOM numbers them.
const (
	nodeElement = 1
	nodeText    = 3
)

func (o *outliner) line(depth int, text string) {
	line := strings.Repeat(" ", min(depth, deepestIndent)) + text + "\n"
	if o.out.Len()+len(line) > outlineLimit {
		o.full = true
		return
	}
	o.out.WriteString(line)
}

// attributes lists those that a reader may look for. Values are shown only where
// they name something; of data attributes only the names are shown.
func (o *outliner) attributes(list []string) string {
	var b strings.Builder
	for i := 0; i+1 < len(list); i += 2 {
		name, value := list[i], list[i+1]
		switch {
		case name == "class":
			fmt.Fprintf(&b, " class×%d", len(strings.Fields(value)))
		case name == "id", name == "role", name == "type", name == "name", name == "data-testid":
			fmt.Fprintf(&b, " %s=%q", name, maskDigits(logging.Truncate(logging.Redact(value), longestLabel)))
		case name == "aria-label", name == "title", name == "alt", name == "placeholder":
			fmt.Fprintf(&b, " %s=%q", name, o.mask(value, longestLabel))
		case strings.HasPrefix(name, "data-"), strings.HasPrefix(name, "aria-"), name == "hidden", name == "disabled":
			b.WriteString(" " + logging.Truncate(name, longestLabel))
		}
		if b.Len() > 4*longestLabel {
			b.WriteString(" …")
			break
		}
	}
	return b.String()
}

// mask hides in a text what could be private.
func (o *outliner) mask(text string, longest int) string {
	// A secret must be whole to be recognised, so it is removed first.
	text = logging.Redact(logging.Truncate(text, longestRead))
	text = strings.Join(strings.Fields(logging.Truncate(text, 4*longest)), " ")
	if o.secret || codeLike.MatchString(text) {
		return logging.Truncate(maskAll(text), longest)
	}
	text = spelled.ReplaceAllString(text, "[code]")
	return logging.Truncate(maskDigits(text), longest)
}

func maskAll(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r):
			return 'x'
		case unicode.IsNumber(r):
			return '0'
		}
		return r
	}, text)
}

// maskDigits leaves numbers of one digit, as in the names of elements, as they are.
func maskDigits(text string) string {
	return digits.ReplaceAllStringFunc(text, func(s string) string { return strings.Repeat("0", len(s)) })
}
