package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// coldStarts is how many are measured. They are of two kinds, and so are the starts
// after a fault: a page that finds the mark of another tab waits 1.5 s to see whether
// that lives, and a tab that is closed does not always take its mark away in time. The
// bound is the slowest.
const coldStarts = 5

// measureCold measures starts on a profile that exists, under the same requests
// as the faults.
func (r *rig) measureCold(ctx context.Context, rep *report) error {
	if err := r.ready(ctx); err != nil {
		return err
	}
	var took []time.Duration
	for range coldStarts {
		if err := r.service.Stop(); err != nil {
			return err
		}
		asking := newClient("http://"+r.address, r.o.pause)
		d, err := r.coldStart(ctx)
		asking.close()
		if err != nil {
			return err
		}
		took = append(took, d.Round(time.Millisecond))
	}
	slices.Sort(took)
	r.cold = took[coldStarts-1]
	rep.Cold = append(rep.Cold, took...)
	return nil
}

// ready starts the service, unless it runs. The first start of all makes the
// profile.
func (r *rig) ready(ctx context.Context) error {
	if r.service != nil {
		return nil
	}
	_, err := r.fresh(ctx, nil)
	return err
}

// round brings one fault about, on a fresh service or on the present one, and
// adds a row. Its error ends the run.
func (r *rig) round(ctx context.Context, out io.Writer, f fault, rep *report, fresh bool) error {
	_, _ = fmt.Fprintf(out, "%s %s … ", time.Now().Format(time.TimeOnly), f.name)
	row, err := r.try(ctx, f, fresh)
	row.Missed = row.judge()
	rep.Rows = append(rep.Rows, row)
	switch {
	case row.Skipped != "":
		_, _ = fmt.Fprintln(out, "skipped")
	case len(row.Missed) > 0:
		_, _ = fmt.Fprintln(out, row.Missed)
	default:
		_, _ = fmt.Fprintln(out, "ok")
	}
	return err
}

func (r *rig) try(ctx context.Context, f fault, fresh bool) (row, error) {
	w := row{Fault: f.name, Linked: r.linked, Expect: f.expect, wanted: f.reasons, excused: f.excused, cold: r.cold}
	if fresh {
		began, err := r.fresh(ctx, f.prepare)
		if f.prepare != nil {
			w.cold = max(w.cold, began) // what was prepared has its part in every start
		}
		if f.clear != nil {
			defer r.undo(ctx, f)
		}
		if errors.Is(err, errSkipped) {
			w.Skipped = err.Error()
			return w, nil
		}
		if err != nil {
			return w, err
		}
	}
	begun := time.Now()
	before, err := r.awaitSettled(ctx)
	if err != nil {
		return w, err
	}
	procs, err := below(r.service.PID())
	if err != nil {
		return w, err
	}
	defer procs.close()
	r.hit(ctx, f, target{before, procs}, &w)
	w.Seconds = time.Since(begun).Seconds()
	if ctx.Err() != nil {
		return w, ctx.Err()
	}
	if w.Error != "" && !fresh {
		// The next one needs a service that is well.
		_, err = r.fresh(ctx, nil)
	}
	return w, err
}

// undo stops the service, for clear needs that, and the next round starts it.
func (r *rig) undo(ctx context.Context, f fault) {
	if r.service != nil {
		_ = r.service.Stop()
		r.service = nil
	}
	_ = f.clear(context.WithoutCancel(ctx), r)
}

// hit is the fault itself, and what follows.
func (r *rig) hit(ctx context.Context, f fault, t target, w *row) {
	asking := newClient("http://"+r.address, r.o.pause)
	defer asking.close()
	begun := time.Now()
	if err := f.inject(ctx, r, t); errors.Is(err, errSkipped) {
		w.Skipped = err.Error()
		return
	} else if err != nil {
		w.Error = "not brought about: " + err.Error()
		return
	}
	p, err := r.follow(ctx, f, t, begun)
	w.Tally = asking.take()
	w.Reasons = p.reasons
	if err != nil {
		w.Error = err.Error()
		if f.mend != nil && p.mended.IsZero() {
			_ = f.mend(ctx, r, t)
		}
		return
	}
	if e := p.last.LastEnd; e != nil && e.Generation >= t.view.Worker.Generation {
		w.Delay = time.Duration(e.DelayMS) * time.Millisecond
	}
	if p.stated.After(p.mended) {
		w.Delay = p.stated.Sub(p.mended)
	}
	from := begun
	if !p.detected.IsZero() {
		w.Detected = p.detected.Sub(begun)
		from = p.detected
	}
	if p.ended.After(from) {
		from = p.ended
	}
	if p.mended.After(from) {
		from = p.mended
	}
	if f.expect != nothing {
		w.Back = p.back.Sub(from)
	}
	if f.expect == nothing && p.last.Worker.Generation != t.view.Worker.Generation {
		w.Error = "the worker was restarted for it"
	}
	if f.expect == rolls && p.last.LastEnd.Class != "planned" {
		w.Error = "the end was not planned"
	}
	w.Left = r.leftovers(t.tree, p.last)
	w.Relogin = r.linked && slices.Contains(p.reasons, "scan_qr")
}
