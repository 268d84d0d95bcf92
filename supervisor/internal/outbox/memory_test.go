package outbox

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// What is not needed to decide about a message that waits is on disk only.
func TestQueuedMessageTakesLittleMemory(t *testing.T) {
	const n, most = 10_000, 256
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	q := newQueue()
	before := heap()
	for i := range n { // as each is accepted: with texts of its own
		e := queued()
		e.ID, e.To, e.Account = newID(), fmt.Sprintf("%d@c.us", 15_550_300_000+i%1000), strings.Clone(string(me))
		e.Reference, e.Typeable = strings.Repeat("r", MaxReference), true
		q.put(e)
	}
	if each := (heap() - before) / n; each > most {
		t.Errorf("each takes %d bytes", each)
	}
	runtime.KeepAlive(q)
}

// What is in memory of an entry is all that is needed to decide about it.
func TestQueueKeepsWhatDecides(t *testing.T) {
	q := newQueue()
	paced := queued().wait(CodePaced, t0.Add(time.Hour))
	touched := paced.attempt(t0)
	touched.Chat = place{Phone: "2@c.us", LID: "9@lid"}
	file := queued()
	file.File = 7
	for _, e := range []entry{queued(), typeable(queued()), paced, act(Queued), file, touched, touched.doubt(t0), typedAt(typeable(touched)), queued()} {
		e.Reference = "r"
		it := q.put(e)
		if e.Reference = ""; it.entry() != e {
			t.Errorf("%+v became %+v", e, it.entry())
		}
	}
	if q.put(queued().cancel(t0)); len(q.items) != 0 || len(q.chats) != 0 {
		t.Error("what has ended is still kept")
	}
}
