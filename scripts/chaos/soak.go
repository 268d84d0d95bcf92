package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

const (
	// warmUp is how many cycles pass before the first measurement: heaps and
	// pools have their size then.
	warmUp = 10
	// sampleEvery is how often a line is printed.
	sampleEvery = 10
)

// soak kills Chrome and the worker in turns, as often as --cycles says, on one
// service with a linked account.
func (r *rig) soak(ctx context.Context, out io.Writer) error {
	if r.o.cycles <= warmUp {
		return fmt.Errorf("--cycles must be more than %d", warmUp)
	}
	if _, err := r.fresh(ctx, nil); err != nil {
		return err
	}
	if err := r.link(ctx); err != nil {
		return err
	}
	r.hurried = true
	begun := time.Now()
	asking := newClient("http://"+r.address, r.o.pause)
	defer asking.close()
	var g growth
	for n := 1; n <= r.o.cycles; n++ {
		if err := r.cycle(ctx, n); err != nil {
			return fmt.Errorf("cycle %d: %w", n, err)
		}
		if n%sampleEvery != 0 && n != r.o.cycles {
			continue
		}
		var err error
		if g.To, err = r.service.Size(ctx); err != nil {
			return err
		}
		if n == warmUp {
			g.From = g.To
		}
		_, _ = fmt.Fprintf(out, "%4d  %s\n", n, growth{g.From, g.To})
	}
	t := asking.take()
	_, _ = fmt.Fprintf(out, "%d cycles in %s; %d requests, %d failed, the longest took %s\n",
		r.o.cycles, time.Since(begun).Round(time.Second), t.Asked, t.Failed, t.Longest.Round(time.Millisecond))
	return soaked(g, t, r.atTheEnd())
}

// cycle kills one of the two and waits until the account is READY again.
func (r *rig) cycle(ctx context.Context, n int) error {
	victim := workerFaults()[0]
	if n%2 == 0 {
		victim = chromeFaults()[0]
	}
	before, err := r.awaitSettled(ctx)
	if err != nil {
		return err
	}
	procs, err := below(r.service.PID())
	if err != nil {
		return err
	}
	defer procs.close()
	t := target{before, procs}
	if err := victim.inject(ctx, r, t); err != nil {
		return err
	}
	p, err := r.follow(ctx, victim, t, time.Now())
	if err != nil {
		return err
	}
	if slices.Contains(p.reasons, "scan_qr") {
		return errors.New("the login was lost")
	}
	if left := r.leftovers(procs, p.last); len(left) > 0 {
		return fmt.Errorf("left: %s", strings.Join(left, ", "))
	}
	return nil
}

// soaked is an error when a goal was missed.
func soaked(g growth, t tally, left []string) error {
	var missed []string
	if t.Failed > 0 {
		missed = append(missed, fmt.Sprintf("%d requests failed: %s", t.Failed, t.First))
	}
	if more := g.tooMuch(); more != "" {
		missed = append(missed, more)
	}
	if len(left) > 0 {
		missed = append(missed, "left: "+strings.Join(left, ", "))
	}
	if len(missed) == 0 {
		return nil
	}
	return errors.New(strings.Join(missed, "; "))
}
