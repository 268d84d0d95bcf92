package process

import (
	"io"
	"sync/atomic"
	"time"

	limit "golang.org/x/time/rate"
)

// What a worker may write to its standard output and error: so much in a second, and so
// much at once. All but the first lines of a second is dropped, but even that keeps a
// processor busy.
const (
	volumeRate  = 1 << 20
	volumeBurst = 64 << 20
)

// volume notices a worker that writes without end.
type volume struct {
	left     *limit.Limiter
	exceeded atomic.Bool
}

func newVolume() *volume { return &volume{left: limit.NewLimiter(volumeRate, volumeBurst)} }

// of returns a reader of from that counts.
func (v *volume) of(from io.Reader) io.Reader { return metered{from, v} }

type metered struct {
	io.Reader
	volume *volume
}

// Read implements io.Reader.
func (m metered) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if !m.volume.left.AllowN(time.Now(), n) {
		m.volume.exceeded.Store(true)
	}
	return n, err
}
