package server

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

func TestQueueKeepsWhatASlowSupervisorNeeds(t *testing.T) {
	phase := rpc.PhaseChanged{Phase: rpc.PhaseNavigate}
	ready := rpc.PageObserved{Condition: rpc.PageReady}
	readyLater := rpc.PageObserved{Condition: rpc.PageReady, PageVersion: "2"}
	lost := rpc.PageObserved{Condition: rpc.PageDisconnected}
	first, second := rpc.QRShown{Seq: 1}, rpc.QRShown{Seq: 2}
	gone := rpc.QRGone{Cause: "idle"}
	sent, read, other := rpc.MessageChanged{ID: "a", Ack: 1}, rpc.MessageChanged{ID: "a", Ack: 3}, rpc.MessageChanged{ID: "b", Ack: 1}
	possible, impossible := rpc.SendingObserved{Possible: true}, rpc.SendingObserved{Why: "w"}
	failure, exit := rpc.Failure{Reason: reason.PageHung}, rpc.BrowserExited{Exit: "exit 0"}
	tests := []struct {
		name    string
		in, out []rpc.EventBody
	}{
		{"order", []rpc.EventBody{phase, ready, first}, []rpc.EventBody{phase, ready, first}},
		{"newest heartbeat", []rpc.EventBody{rpc.Heartbeat{ResidentBytes: 1}, phase, rpc.Heartbeat{ResidentBytes: 2}},
			[]rpc.EventBody{phase, rpc.Heartbeat{ResidentBytes: 2}}},
		{"newest QR", []rpc.EventBody{first, phase, second}, []rpc.EventBody{phase, second}},
		{"gone after shown", []rpc.EventBody{first, gone}, []rpc.EventBody{gone}},
		{"shown after gone", []rpc.EventBody{first, gone, second}, []rpc.EventBody{second}},
		{"fresher evidence", []rpc.EventBody{ready, readyLater}, []rpc.EventBody{readyLater}},
		{"every change", []rpc.EventBody{ready, lost, readyLater}, []rpc.EventBody{lost, readyLater}},
		{"newest of each message", []rpc.EventBody{sent, other, read}, []rpc.EventBody{other, read}},
		{"whether it can send", []rpc.EventBody{possible, phase, impossible}, []rpc.EventBody{phase, impossible}},
		{"only the exit after a failure", []rpc.EventBody{ready, failure, lost, failure, exit}, []rpc.EventBody{ready, failure, exit}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := newQueue()
			for _, body := range tt.in {
				q.put(body)
			}
			q.close()
			var got []rpc.EventBody
			err := q.deliver(t.Context(), 1, func(e rpc.Event) error {
				got = append(got, e.Body)
				return nil
			})
			if diff := cmp.Diff(tt.out, got); diff != "" || err != nil {
				t.Error(diff, err)
			}
		})
	}
}

func TestQueueIsBoundedAndKeepsTheFailure(t *testing.T) {
	q := newQueue()
	q.put(rpc.BrowserStarted{PID: 1})
	for i := range 10 * historyLimit {
		q.put(rpc.PageObserved{Condition: rpc.PageReady, Reason: reason.Code(fmt.Sprint(i))})
		q.put(rpc.QRShown{Seq: uint64(i)})
		q.put(rpc.Heartbeat{})
	}
	q.put(rpc.Failure{})
	if n := len(q.items); n != historyLimit {
		t.Errorf("%d events wait", n)
	}
	_, started := q.items[0].body.(rpc.BrowserStarted)
	_, failed := q.items[historyLimit-1].body.(rpc.Failure)
	if !started || !failed {
		t.Error("the start or the failure was forgotten")
	}
}

func TestHintsCrowdOutNothingElse(t *testing.T) {
	q := newQueue()
	for i := range 3 * hintLimit {
		q.put(rpc.MessageChanged{ID: rpc.MessageID(fmt.Sprint(i))})
		q.put(rpc.PageObserved{Condition: rpc.PageReady, Reason: reason.Code(fmt.Sprint(i % historyLimit))})
	}
	if n := len(q.items); n != historyLimit+hintLimit {
		t.Errorf("%d events wait", n)
	}
	if last := q.items[len(q.items)-2].body; last != (rpc.MessageChanged{ID: rpc.MessageID(fmt.Sprint(3*hintLimit - 1))}) {
		t.Errorf("the newest hint is %v", last)
	}
}

func TestQueueAgesAQRThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.put(rpc.QRShown{TTL: 20 * time.Second})
		time.Sleep(15 * time.Second)
		q.close()
		_ = q.deliver(t.Context(), 1, func(e rpc.Event) error {
			if ttl := e.Body.(rpc.QRShown).TTL; ttl != 5*time.Second {
				t.Errorf("%v are left", ttl)
			}
			return nil
		})
	})
}

func TestQueueDeliversWhileItIsFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		var got []uint64
		done := make(chan error)
		go func() {
			done <- q.deliver(t.Context(), 1, func(e rpc.Event) error {
				got = append(got, e.Seq)
				return nil
			})
		}()
		for range 3 {
			synctest.Wait()
			q.put(rpc.PhaseChanged{})
		}
		q.close()
		if err := <-done; err != nil || !cmp.Equal(got, []uint64{1, 2, 3}) {
			t.Error(got, err)
		}
	})
}

func TestRestlessPageStaysWithinWhatMayBeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		sent := 0
		done := make(chan error)
		go func() {
			done <- q.deliver(t.Context(), 1, func(rpc.Event) error {
				sent++
				return nil
			})
		}()
		const seconds = 60
		for n := range 100 * seconds {
			q.put(rpc.PageObserved{Condition: []rpc.Condition{rpc.PageReady, rpc.PageDisconnected}[n%2], Reason: reason.Code(fmt.Sprint(n))})
			time.Sleep(time.Second / 100)
		}
		q.close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if most := burst + pace*(seconds+historyLimit); sent > most || sent < pace*seconds {
			t.Errorf("%d events in %d s", sent, seconds)
		}
	})
}
