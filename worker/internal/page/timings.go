package page

import (
	"cmp"
	"time"

	"session-manager/shared/rpc"
	"session-manager/worker/internal/page/classify"
	"session-manager/worker/internal/page/command"
	"session-manager/worker/internal/page/search"
)

// Timings are the durations of the package. Zero fields take the defaults.
type Timings struct {
	// Open bounds everything that Open does, the first navigation included.
	Open time.Duration
	// Interval is the longest time between two observations, and Rest the same while
	// the page is well and reports its changes: an observation costs the page, Chrome
	// and the worker a millisecond each.
	Interval, Rest time.Duration
	// Deadline is how long the page's main thread may take to answer, and Misses how
	// often in a row it may fail to before it is cured.
	Deadline time.Duration
	Misses   int
	// Navigate bounds a navigation after the first.
	Navigate time.Duration
	// CureWindow is the time in which CureLimit cures of a kind (hang, crash)
	// are allowed.
	CureWindow time.Duration
	CureLimit  int
	// Call bounds every other call to Chrome.
	Call     time.Duration
	Search   search.Timings
	Command  command.Timings
	Classify classify.Timings
}

// stretched gives the page more time to load and to answer.
func (t Timings) stretched(by rpc.DeadlineFactor) Timings {
	by.Stretch(&t.Open, &t.Deadline, &t.Navigate, &t.Call)
	return t
}

func (t Timings) withDefaults() Timings {
	t.Open = cmp.Or(t.Open, time.Minute)
	t.Interval = cmp.Or(t.Interval, 2*time.Second)
	t.Rest = cmp.Or(t.Rest, 4*time.Second)
	t.Deadline = cmp.Or(t.Deadline, 4*time.Second)
	t.Misses = cmp.Or(t.Misses, 3)
	t.Navigate = cmp.Or(t.Navigate, 20*time.Second)
	t.CureWindow = cmp.Or(t.CureWindow, 10*time.Minute)
	t.CureLimit = cmp.Or(t.CureLimit, 3)
	t.Call = cmp.Or(t.Call, 5*time.Second)
	return t
}
