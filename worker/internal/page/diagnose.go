package page

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

// Bounds of what the console tells.
const (
	mostComplaints   = 50
	longestComplaint = 300
)

// Diagnose tells what the page is made of, and what each reader sees in it. It
// is safe for concurrent use. What it can't find out is left empty.
//
// The console is read without the Runtime domain, which a page can tell is on:
// the browser's own complaints come all the time by the Log domain, and the
// page's are those that V8 keeps of a document (at most a thousand), handed out
// when the Console domain is turned on for a moment. Errors that no script has
// caught are not among them; the observer listens to these from when it is there.
// Missing are those before it, those of workers and of frames in other processes,
// and those of earlier documents.
func (p *Page) Diagnose(ctx context.Context) (rpc.Diagnosis, error) {
	v, _ := p.views.get()
	if !v.looked {
		return rpc.Diagnosis{}, rpc.ErrNoPage
	}
	ctx, cancel := context.WithTimeout(ctx, p.t.Command)
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	select {
	case p.diagnoses <- struct{}{}:
		defer func() { <-p.diagnoses }()
	case <-ctx.Done():
		return rpc.Diagnosis{}, p.explain(ctx.Err())
	}
	d := rpc.Diagnosis{URL: addressOf(v.address), PageVersion: v.shown.PageVersion, Readers: readersOf(v)}
	var errs []error
	var err error
	if d.UserAgent, err = p.userAgent(ctx); err != nil {
		errs = append(errs, err)
	}
	root, err := p.tree(ctx)
	switch {
	case err == nil:
		d.Outline = outline(root, v.shown.Registered)
	case errors.Is(err, errTooLarge):
		d.Outline = "the document is too large to be outlined\n"
	default:
		errs = append(errs, err)
	}
	if d.Console, err = p.complaints(ctx, v.uncaught); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 && d.Outline == "" {
		return rpc.Diagnosis{}, fmt.Errorf("cannot diagnose page: %w", p.explain(errors.Join(errs...)))
	}
	return d, nil
}

// addressOf is an address without what could be private in it.
func addressOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return logging.Redact(truncate(u.String(), longestComplaint))
}

func readersOf(v view) []rpc.ReaderView {
	var views []rpc.ReaderView
	for _, r := range []selectors.Reader{selectors.ReaderDOM, selectors.ReaderModules, selectors.ReaderImage, selectors.ReaderScreenshot} {
		saw, ok := v.saw[r]
		if !ok {
			saw = "has not looked"
		}
		views = append(views, rpc.ReaderView{Reader: string(r), Saw: saw})
	}
	return views
}

// userAgent is what the page sees, asked where it can't lie.
func (p *Page) userAgent(ctx context.Context) (string, error) {
	world, err := p.isolated(ctx)
	if err != nil {
		return "", err
	}
	res, err := proto.RuntimeEvaluate{Expression: "navigator.userAgent", ContextID: world, ReturnByValue: true}.Call(p.rod.Context(ctx))
	if err != nil {
		return "", fmt.Errorf("cannot read user agent: %w", stale(err))
	}
	return truncate(res.Result.Value.Str(), longestComplaint), nil
}

// complaints returns the last errors and warnings: of the browser, of the page,
// and those that nobody caught, each oldest first.
func (p *Page) complaints(ctx context.Context, uncaught []string) ([]string, error) {
	page := p.rod.Context(ctx)
	p.signals.mu.Lock()
	p.signals.console = nil
	p.signals.mu.Unlock()
	if err := (proto.ConsoleEnable{}).Call(page); err != nil {
		return nil, fmt.Errorf("cannot read console: %w", err)
	}
	if err := (proto.ConsoleDisable{}).Call(page); err != nil {
		return nil, fmt.Errorf("cannot silence console: %w", err)
	}
	if err := p.catchUp(ctx); err != nil {
		return nil, err
	}
	p.signals.mu.Lock()
	defer p.signals.mu.Unlock()
	all := slices.Concat(p.signals.browser, p.signals.console)
	for _, text := range uncaught {
		all = append(all, complaint("error", text, "", 0))
	}
	return all[max(0, len(all)-mostComplaints):], nil
}

// catchUp waits until the listener has handled all events that Chrome has sent:
// it makes Chrome send one more. Without the binding for hints there is nothing
// to wait for.
func (p *Page) catchUp(ctx context.Context) error {
	world, err := p.isolated(ctx)
	if err != nil {
		return err
	}
	mark := rand.Text()
	seen := p.signals.expect(mark)
	defer p.signals.expect("")
	res, err := proto.RuntimeEvaluate{Expression: fmt.Sprintf("%s(%q)", hintBinding, mark), ContextID: world}.Call(p.rod.Context(ctx))
	if err != nil {
		return fmt.Errorf("cannot mark the events: %w", stale(err))
	}
	if res.ExceptionDetails != nil {
		return nil
	}
	select {
	case <-seen:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// expect returns what is closed when the binding is called with mark.
func (s *signals) expect(mark string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark, s.marked = mark, make(chan struct{})
	return s.marked
}

// noteMark handles a call of the binding.
func (p *Page) noteMark(payload string) {
	p.signals.mu.Lock()
	defer p.signals.mu.Unlock()
	if p.signals.mark != "" && payload == p.signals.mark {
		close(p.signals.marked)
		p.signals.mark = ""
	}
}

// noteConsole keeps what the console says.
func (p *Page) noteConsole(level, text, address string, line int) {
	if level != "error" && level != "warning" {
		return
	}
	p.signals.mu.Lock()
	defer p.signals.mu.Unlock()
	p.signals.console = appendLast(p.signals.console, complaint(level, text, address, line))
}

// noteComplaint keeps what the browser has to say of the page.
func (p *Page) noteComplaint(e *proto.LogLogEntry) {
	level := string(e.Level)
	if level != "error" && level != "warning" {
		return
	}
	line := 0
	if e.LineNumber != nil {
		line = *e.LineNumber
	}
	p.signals.mu.Lock()
	defer p.signals.mu.Unlock()
	p.signals.browser = appendLast(p.signals.browser, complaint(level, string(e.Source)+": "+e.Text, e.URL, line))
}

// longNumber could be a phone's, or a chat's.
var longNumber = regexp.MustCompile(`[0-9]{6,}`)

// complaint is one line of the console, without what could be private.
func complaint(level, text, address string, line int) string {
	text = strings.Join(strings.Fields(truncate(text, 4*longestComplaint)), " ")
	said := level + ": " + longNumber.ReplaceAllString(truncate(logging.Redact(text), longestComplaint), "[number]")
	if at := addressOf(address); at != "" {
		said += fmt.Sprintf(" (%s:%d)", at, line)
	}
	return said
}

func appendLast(list []string, s string) []string {
	if len(list) >= mostComplaints {
		list = slices.Clone(list[len(list)-mostComplaints+1:])
	}
	return append(list, s)
}
