package rpc

import "time"

// DeadlineFactor is how many times the usual time an answer may take before what is
// asked counts as hung; 0 stands for 1.
type DeadlineFactor float64

// Of returns the usual deadline times f.
func (f DeadlineFactor) Of(usual time.Duration) time.Duration {
	if f == 0 {
		return usual
	}
	return time.Duration(float64(f) * float64(usual))
}

// Stretch applies Of to each deadline.
func (f DeadlineFactor) Stretch(deadlines ...*time.Duration) {
	for _, d := range deadlines {
		*d = f.Of(*d)
	}
}
