package classify

import (
	"cmp"
	"time"
)

// Timings are the durations by which the page is classified. Zero fields take the
// defaults.
type Timings struct {
	// FirstTTL is the life of the first code after there was none, and NextTTL
	// that of each further one, where the page's modules don't answer: WhatsApp
	// Web shows the first of its six references for 60 s and the others for
	// 20 s.
	FirstTTL, NextTTL time.Duration
	// Grace is added to each life: the page's own timer is a little late, and a
	// code must not vanish for the moment until the next one is drawn.
	Grace time.Duration
	// RenewWithin is how soon a new code must follow when the overlay's button was
	// pressed, before the page is reloaded.
	RenewWithin time.Duration
	// RenewPause is the least time between two renewals. It doubles with every
	// fruitless one, up to RenewPauseMax.
	RenewPause, RenewPauseMax time.Duration
	// Drawing is how long the page may take to draw a code that its modules
	// already know.
	Drawing time.Duration
	// Settling is how long parts of the QR payload may change one after the other.
	Settling time.Duration
	// Eager is how soon to observe again while a code is due.
	Eager time.Duration
	// Silence is how long the cheap readers must have been silent before images are
	// searched.
	Silence time.Duration
	// Repeat is how often an unchanged observation is reported again, as fresh
	// evidence.
	Repeat time.Duration
	// ImageHold is how long the reading of a reader that doesn't look each time stays
	// valid.
	ImageHold time.Duration
	// TakeOver is how long the account may be open elsewhere before the page is
	// made to take it back.
	TakeOver time.Duration
	// Quiet is how long nothing may come over the connection of a page that claims
	// to be connected. WhatsApp Web pings its server every 15 s, and gives up after
	// 20 s.
	Quiet time.Duration
	// Pace divides the time that each kind is given, for a page that is faster than
	// WhatsApp Web. Zero stands for 1.
	Pace float64
}

func (t Timings) withDefaults() Timings {
	t.FirstTTL = cmp.Or(t.FirstTTL, time.Minute)
	t.NextTTL = cmp.Or(t.NextTTL, 20*time.Second)
	t.Grace = cmp.Or(t.Grace, time.Second)
	t.RenewWithin = cmp.Or(t.RenewWithin, 15*time.Second)
	t.RenewPause = cmp.Or(t.RenewPause, time.Second)
	t.RenewPauseMax = cmp.Or(t.RenewPauseMax, 30*time.Second)
	t.Drawing = cmp.Or(t.Drawing, 300*time.Millisecond)
	t.Settling = cmp.Or(t.Settling, 10*time.Millisecond)
	t.Eager = cmp.Or(t.Eager, 500*time.Millisecond)
	t.Silence = cmp.Or(t.Silence, 3*time.Second)
	t.Repeat = cmp.Or(t.Repeat, 10*time.Second)
	t.ImageHold = cmp.Or(t.ImageHold, 10*time.Second)
	t.TakeOver = cmp.Or(t.TakeOver, time.Minute)
	t.Quiet = cmp.Or(t.Quiet, 75*time.Second)
	t.Pace = cmp.Or(t.Pace, 1)
	return t
}

// paced is d at the page's pace.
func (t Timings) paced(d time.Duration) time.Duration { return time.Duration(float64(d) / t.Pace) }
