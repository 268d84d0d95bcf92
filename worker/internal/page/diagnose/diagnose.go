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
	"errors"
	"fmt"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/page/target"
	"session-manager/worker/internal/page/view"
)

// Diagnoser describes a page. It is safe for concurrent use.
type Diagnoser struct {
	target  *target.Target
	console *Console
	turn    chan struct{} // holds one token
}

// New returns the Diagnoser of a page.
func New(t *target.Target, c *Console) *Diagnoser {
	return &Diagnoser{target: t, console: c, turn: make(chan struct{}, 1)}
}

// Diagnose describes the page, one caller at a time. What it can't find out is
// left empty; it fails when it can't read the document.
func (d *Diagnoser) Diagnose(ctx context.Context, v view.View) (rpc.Diagnosis, error) {
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
		found.Outline = outline(root, v.Reported.Registered)
	case errors.Is(treeErr, target.ErrTooLarge):
		found.Outline = "the document is too large for an outline\n"
	}
	var consoleErr error
	found.Console, consoleErr = d.console.complaints(ctx, v.Uncaught)
	if found.Outline == "" {
		if err := errors.Join(agentErr, treeErr, consoleErr); err != nil {
			return rpc.Diagnosis{}, fmt.Errorf("cannot diagnose page: %w", err)
		}
	}
	return found, nil
}
