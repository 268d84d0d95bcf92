package page

import (
	"time"

	"session-manager/shared/rpc"
	"session-manager/worker/internal/page/classify"
)

// Timings are the durations of the package. Zero fields take the defaults.
type Timings struct {
	// Open bounds everything that Open does, the first navigation included.
	Open time.Duration
	// Interval is the longest time between two looks, and Rest the same while the page
	// is well and tells of its changes: a look costs it, Chrome and us a millisecond.
	Interval, Rest time.Duration
	// LookDeadline is how long the page's main thread may take to answer, and
	// Misses how often in a row it may fail to before it is cured.
	LookDeadline time.Duration
	Misses       int
	// Navigate bounds a navigation after the first.
	Navigate time.Duration
	// CureWindow is the time in which CureLimit cures of a kind (hang, crash)
	// are allowed.
	CureWindow time.Duration
	CureLimit  int
	// Search bounds one search by one reader; a busy machine needs seconds for
	// what an idle one does at once. SearchAgain is how long after one
	// the next may begin, doubled after each in vain up to SearchAgainMax.
	Search, SearchAgain, SearchAgainMax time.Duration
	// Call bounds every other call to Chrome.
	Call time.Duration
	// Command bounds what a person can ask the page to do, whatever time the
	// caller gives. Answer is how long the page may take to do what it was told,
	// with its server; Press is how long what follows a press may take.
	Command, Answer, Press time.Duration
	// Judge are the durations by which the code is judged.
	Judge classify.Timings
}

// stretched gives the page more time to load and to answer.
func (t Timings) stretched(by rpc.DeadlineFactor) Timings {
	by.Stretch(&t.Open, &t.LookDeadline, &t.Navigate, &t.Call)
	return t
}

func (t Timings) withDefaults() Timings {
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.Open, time.Minute},
		{&t.Interval, 2 * time.Second},
		{&t.Rest, 4 * time.Second},
		{&t.LookDeadline, 4 * time.Second},
		{&t.Navigate, 20 * time.Second},
		{&t.CureWindow, 10 * time.Minute},
		{&t.Search, 10 * time.Second},
		{&t.SearchAgain, time.Second},
		{&t.SearchAgainMax, 8 * time.Second},
		{&t.Call, 5 * time.Second},
		{&t.Command, 90 * time.Second},
		{&t.Answer, 25 * time.Second},
		{&t.Press, 1500 * time.Millisecond},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if t.Misses == 0 {
		t.Misses = 3
	}
	if t.CureLimit == 0 {
		t.CureLimit = 3
	}
	return t
}
