package rpc

import "time"

// DeadlineFactor is how many times the usual something may take before it counts as
// hung; 0 stands for 1.
type DeadlineFactor float64

// Of is the deadline of what usually has so long.
func (f DeadlineFactor) Of(usual time.Duration) time.Duration {
	if f == 0 {
		return usual
	}
	return time.Duration(float64(f) * float64(usual))
}

// Stretch replaces each deadline by what Of makes of it.
func (f DeadlineFactor) Stretch(deadlines ...*time.Duration) {
	for _, d := range deadlines {
		*d = f.Of(*d)
	}
}
