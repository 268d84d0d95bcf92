package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"session-manager/scripts/simulator"
)

// measureNight leaves the code unscanned for a night of the simulator's clock:
// there must be a fresh one all the time, and no growth of memory.
func (b *bench) measureNight(ctx context.Context) (err error) {
	s, end, err := b.serve(ctx, simulator.Options{Speed: b.speed})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	body, _, err := s.NextQR(ctx, "")
	if err != nil {
		return err
	}
	var early float64
	var longest time.Duration
	codes := 1
	length := time.Duration(float64(b.night) / b.speed)
	for begun := time.Now(); time.Since(begun) < length; codes++ {
		waited := time.Now()
		if body, _, err = s.NextQR(ctx, body); err != nil {
			return fmt.Errorf("after %s: %w", time.Since(begun).Round(time.Second), err)
		}
		longest = max(longest, time.Since(waited))
		if early == 0 && time.Since(begun) > length/8 {
			if early, err = memoryBelow(s.PID()); err != nil {
				return err
			}
		}
	}
	late, err := memoryBelow(s.PID())
	if err != nil {
		return err
	}
	v, err := s.View(ctx)
	if err != nil || v.QR == nil {
		return fmt.Errorf("no QR at the end of the night: %w", err)
	}
	if v.Worker.Generation != 1 {
		return fmt.Errorf("the worker was started %d times in the night", v.Worker.Generation)
	}
	b.table.Rows = append(b.table.Rows,
		absolute("night: codes served", "", float64(codes), 0),
		absolute("night: renewals", "", float64(v.QR.Renewals), 0),
		absolute("night: longest wait for another code", "s", longest.Seconds(), 0),
		row{Name: "night: memory at its end", Unit: "MB", Ours: late, Floor: early, Judged: late / early, Limit: 1.15})
	return nil
}
