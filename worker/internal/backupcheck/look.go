package backupcheck

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/chrome"
)

//go:embed look.js
var lookScript string

// blank is served as the page. Its icon keeps Chrome from asking for one.
const blank = `<!doctype html><title>-</title><link rel="icon" href="data:,">`

// stored is what look.js has found.
type stored struct {
	Origin string `json:"origin"`
	// Missing are the keys of a login that localStorage lacks.
	Missing []string `json:"missing"`
	// Databases are those that were opened. Broken maps the others to their errors.
	Databases []string          `json:"databases"`
	Broken    map[string]string `json:"broken"`
}

// check returns a *rejection unless it is a login: all its keys, and at least one
// database, all of which open. Chrome discards a database that it finds torn, with all
// others of the page, and what decrypts a login is in one. Which databases there must
// be is left open, since that changes with the page. A log that was cut short opens as
// what it was before (LevelDB's log_reader.cc): only the backup's checksums show that.
func (s stored) check() error {
	switch {
	case len(s.Broken) > 0:
		name := slices.Sorted(maps.Keys(s.Broken))[0]
		return &rejection{fmt.Sprintf("%d databases can't be opened, %s among them: %s", len(s.Broken), name, s.Broken[name])}
	case len(s.Missing) > 0:
		return &rejection{"localStorage lacks " + strings.Join(s.Missing, ", ")}
	case len(s.Databases) == 0:
		return &rejection{"the page has no database"}
	}
	return nil
}

// look opens an empty document at the page's address, and finds out what is stored
// for it.
func look(ctx context.Context, browser *rod.Browser, address string, keys []string) (stored, error) {
	origin, err := chrome.Origin(address)
	if err != nil {
		return stored{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	page, err := browser.Context(ctx).Page(proto.TargetCreateTarget{})
	if err != nil {
		return stored{}, fmt.Errorf("cannot open page: %w", err)
	}
	loaded, ended, err := intercept(page)
	if err != nil {
		return stored{}, err
	}
	defer func() {
		cancel()
		<-ended
	}()
	nav, err := proto.PageNavigate{URL: address}.Call(page)
	if err == nil && nav.ErrorText != "" {
		err = errors.New(nav.ErrorText)
	}
	if err != nil {
		return stored{}, fmt.Errorf("cannot open page: %w", err)
	}
	select {
	case <-loaded:
	case <-ctx.Done():
		return stored{}, fmt.Errorf("cannot open page: %w", ctx.Err())
	}
	found, err := ask(page, keys)
	if err == nil && found.Origin != origin {
		err = fmt.Errorf("cannot open page: its origin is %q", found.Origin)
	}
	return found, err
}

// intercept answers every request of the page from here: that for the document
// with blank, the others with an error. It returns a channel that is closed when the
// document has been loaded, and one that is closed when it no longer answers, after
// the page's context has ended.
func intercept(page *rod.Page) (loaded, ended <-chan struct{}, err error) {
	for _, command := range []interface{ Call(proto.Client) error }{
		proto.NetworkEnable{},
		// A service worker would answer instead of the network.
		proto.NetworkSetBypassServiceWorker{Bypass: true},
		proto.FetchEnable{}, // without patterns: every request
	} {
		if err := command.Call(page); err != nil {
			return nil, nil, fmt.Errorf("cannot keep page from the network: %w", err)
		}
	}
	load, over := make(chan struct{}), make(chan struct{})
	served, announced := false, false
	wait := page.EachEvent(func(e *proto.FetchRequestPaused) {
		// When an answer fails nothing is ever loaded, and the limit ends it.
		if e.ResourceType == proto.NetworkResourceTypeDocument && e.FrameID == page.FrameID {
			served = serve(page, e.RequestID) == nil
			return
		}
		_ = proto.FetchFailRequest{RequestID: e.RequestID, ErrorReason: proto.NetworkErrorReasonBlockedByClient}.Call(page)
	}, func(*proto.PageLoadEventFired) {
		if served && !announced {
			announced = true
			close(load)
		}
	})
	go func() {
		defer close(over)
		wait()
	}()
	return load, over, nil
}

// serve answers a request with blank.
func serve(page *rod.Page, id proto.FetchRequestID) error {
	return proto.FetchFulfillRequest{
		RequestID: id, ResponseCode: 200, Body: []byte(blank),
		ResponseHeaders: []*proto.FetchHeaderEntry{{Name: "Content-Type", Value: "text/html; charset=utf-8"}},
	}.Call(page)
}

// ask runs look.js in the page, which has no other script.
func ask(page *rod.Page, keys []string) (stored, error) {
	res, err := page.Evaluate(rod.Eval(lookScript, keys).ByPromise())
	if err != nil {
		return stored{}, fmt.Errorf("cannot ask page: %w", err)
	}
	var found stored
	if err := res.Value.Unmarshal(&found); err != nil {
		return stored{}, fmt.Errorf("cannot read answer of page: %w", err)
	}
	return found, nil
}
