package classify

import "time"

// Timings are the durations by which the code is judged. Zero fields take the
// defaults.
type Timings struct {
	// FirstTTL is the life of the first code after there was none, and NextTTL
	// that of each further one, where the page's modules don't tell: WhatsApp
	// Web shows the first of its six references for 60 s and the others for
	// 20 s.
	FirstTTL, NextTTL time.Duration
	// Grace is added to each life: the page's own timer is a little late, and a
	// code must not vanish for the moment until the next one is drawn.
	Grace time.Duration
	// RenewWithin is how soon a new code must follow when the overlay's button
	// was pressed, before the page is loaded again.
	RenewWithin time.Duration
	// RenewPause is the least time between two renewals. It doubles with every
	// fruitless one up to RenewPauseMax.
	RenewPause, RenewPauseMax time.Duration
	// Drawing is how long the page may take to draw a code that its modules
	// already know.
	Drawing time.Duration
	// Settling is how long parts of the login string may change one after the
	// other.
	Settling time.Duration
	// Eager is how soon to look again while a code is due.
	Eager time.Duration
	// Silence is how long the readers that cost nothing must have been silent
	// before pictures are searched.
	Silence time.Duration
	// Repeat is how often an unchanged observation is told again, as fresh
	// evidence.
	Repeat time.Duration
	// ImageHold is how long the word of a reader that doesn't look every time
	// is good for.
	ImageHold time.Duration
	// TakeOver is how long the account may be open elsewhere before the page is
	// made to take it back.
	TakeOver time.Duration
	// Quiet is how long nothing may come over the connection of a page that says
	// it is connected. WhatsApp Web asks its server for a sign of life every
	// 15 s, and gives it up after 20 s.
	Quiet time.Duration
	// Pace divides the patience that there is with each screen, for a page that
	// lives faster than WhatsApp Web does. Zero stands for 1.
	Pace float64
}

// withDefaults fills in what is zero.
func (t Timings) withDefaults() Timings {
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.FirstTTL, time.Minute},
		{&t.NextTTL, 20 * time.Second},
		{&t.Grace, time.Second},
		{&t.RenewWithin, 15 * time.Second},
		{&t.RenewPause, time.Second},
		{&t.RenewPauseMax, 30 * time.Second},
		{&t.Drawing, 300 * time.Millisecond},
		{&t.Settling, 10 * time.Millisecond},
		{&t.Eager, 500 * time.Millisecond},
		{&t.Silence, 3 * time.Second},
		{&t.Repeat, 10 * time.Second},
		{&t.ImageHold, 10 * time.Second},
		{&t.TakeOver, time.Minute},
		{&t.Quiet, 75 * time.Second},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if t.Pace == 0 {
		t.Pace = 1
	}
	return t
}

// paced is d at the page's pace.
func (t Timings) paced(d time.Duration) time.Duration { return time.Duration(float64(d) / t.Pace) }
