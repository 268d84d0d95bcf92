package events

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/inbox"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/qr"
	"session-manager/supervisor/internal/session"
)

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func moment(t time.Time) session.Moment { return session.Moment{Time: t} }

func because(c reason.Code) session.Reason { return session.NewReason(c, "", start) }

func snapshot(change func(*session.Snapshot)) *session.Snapshot {
	s := &session.Snapshot{State: session.Init, Since: moment(start), Reason: because(reason.Starting), Phase: session.Phase{Name: "spawn"}, Evidence: session.Evidence{Progress: -1}}
	if change != nil {
		change(s)
	}
	return s
}

func withQR(seq uint64, expires time.Time) func(*session.Snapshot) {
	return func(s *session.Snapshot) {
		s.State = session.QRRequired
		s.QR = &session.QR{Generation: 1, Seq: seq, Reader: "dom", IssuedAt: moment(start), ExpiresAt: moment(expires)}
	}
}

func kinds(events []Event) []Type {
	list := make([]Type, len(events))
	for i, e := range events {
		list[i] = e.Type
	}
	return list
}

func TestEachChangeMakesItsEvents(t *testing.T) {
	tests := []struct {
		name     string
		from, to *session.Snapshot
		want     []Type
	}{
		{name: "nothing", from: snapshot(nil), to: snapshot(nil)},
		{
			name: "a heartbeat", from: snapshot(nil),
			to: snapshot(func(s *session.Snapshot) { s.Worker.HeartbeatAt, s.Worker.ResidentBytes = moment(start), 1 }),
		},
		{
			name: "fresh evidence", from: snapshot(nil),
			to: snapshot(func(s *session.Snapshot) { s.EvidenceAt, s.Version = moment(start), 9 }),
		},
		{
			name: "a reason", from: snapshot(nil),
			to:   snapshot(func(s *session.Snapshot) { s.Reason = because(reason.PageLoading) }),
			want: []Type{StateChanged},
		},
		{
			name: "a state", from: snapshot(nil),
			to:   snapshot(func(s *session.Snapshot) { s.State = session.Ready }),
			want: []Type{StateChanged},
		},
		{
			name: "a first QR", from: snapshot(func(s *session.Snapshot) { s.State = session.QRRequired }),
			to: snapshot(withQR(1, start)), want: []Type{QRChanged},
		},
		{
			name: "the next QR", from: snapshot(withQR(1, start)),
			to: snapshot(withQR(2, start)), want: []Type{QRChanged},
		},
		{
			name: "the same QR again", from: snapshot(withQR(1, start)),
			to: snapshot(withQR(1, start.Add(3*time.Millisecond))),
		},
		{
			name: "a QR with a longer life", from: snapshot(withQR(1, start)),
			to: snapshot(withQR(1, start.Add(20*time.Second))), want: []Type{QRChanged},
		},
		{
			name: "a scan", from: snapshot(withQR(1, start)),
			to: snapshot(func(s *session.Snapshot) {
				withQR(1, start)(s)
				s.State = session.Authenticated
			}),
			want: []Type{StateChanged, QRChanged},
		},
		{
			name: "progress", from: snapshot(nil),
			to: snapshot(func(s *session.Snapshot) { s.Progress = 3 }), want: []Type{ProgressChanged},
		},
		{
			name: "a warning", from: snapshot(nil),
			to:   snapshot(func(s *session.Snapshot) { s.Warnings = []session.Reason{because(reason.DiskFull)} }),
			want: []Type{WarningsChanged},
		},
		{
			name: "a second warning", from: snapshot(func(s *session.Snapshot) { s.Warnings = []session.Reason{because(reason.DiskFull)} }),
			to: snapshot(func(s *session.Snapshot) {
				s.Warnings = []session.Reason{because(reason.DiskFull), because(reason.SavingSlow)}
			}),
			want: []Type{WarningsChanged},
		},
		{
			name: "the same warning", from: snapshot(func(s *session.Snapshot) { s.Warnings = []session.Reason{because(reason.DiskFull)} }),
			to: snapshot(func(s *session.Snapshot) { s.Warnings = []session.Reason{because(reason.DiskFull)} }),
		},
		{
			name: "a process", from: snapshot(nil),
			to: snapshot(func(s *session.Snapshot) { s.Worker.PID = 7 }), want: []Type{WorkerChanged},
		},
		{
			name: "an exit", from: snapshot(func(s *session.Snapshot) { s.Worker.PID = 7 }),
			to: snapshot(func(s *session.Snapshot) {
				s.LastExit, s.Phase.Name = &session.Exit{Generation: 1}, "backoff"
			}),
			want: []Type{WorkerChanged, ProgressChanged},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := NewLog("boot", tt.from)
			l.Observe(tt.to)
			got, ok := l.After(first)
			if !ok || !slices.Equal(kinds(got.Events), tt.want) {
				t.Errorf("got %v, want %v", kinds(got.Events), tt.want)
			}
		})
	}
}

// first is the position of a new Log, which has one event of each type but those of
// messages.
var first = uint64(len(Types()) - 1 - len(inbox.Kinds()))

func TestStateEventNamesTheStateBefore(t *testing.T) {
	l := NewLog("boot", snapshot(nil))
	l.Observe(snapshot(func(s *session.Snapshot) { s.State, s.Reason = session.QRRequired, because(reason.ScanQR) }))
	got, _ := l.After(first)
	var body State
	if err := json.Unmarshal(got.Events[0].Data, &body); err != nil {
		t.Fatal(err)
	}
	if body.Status != session.QRRequired || body.Previous != session.Init || body.Reason.Action == "" {
		t.Errorf("got %+v", body)
	}
}

func TestPresentIsTheNewestOfEachType(t *testing.T) {
	l := NewLog("boot", snapshot(nil))
	for i := range 10 {
		l.Observe(snapshot(func(s *session.Snapshot) { s.Progress = session.Percent(i) }))
	}
	got := l.Present()
	if len(got.Events) != int(first) || got.Last != first+10 {
		t.Fatalf("%d events up to %d", len(got.Events), got.Last)
	}
	if !slices.IsSortedFunc(got.Events, func(a, b Event) int { return int(a.Seq) - int(b.Seq) }) {
		t.Error("not in order")
	}
	if last := got.Events[first-1]; last.Type != ProgressChanged || !strings.Contains(string(last.Data), `"progress_percent":9`) {
		t.Errorf("got %s %s", last.Type, last.Data)
	}
}

func TestMessagesAreEventsButNotOfThePresent(t *testing.T) {
	l := NewLog("boot", snapshot(nil))
	m := outbox.Message{
		ID: "3EB0ABCDEF0123456789AB", Status: outbox.Queued, To: "5491123456789@c.us", Chat: rpc.Chat{LID: "123456789012345@lid"},
		Times: map[outbox.Status]time.Time{outbox.Queued: start}, ExpiresAt: start, Reference: "order 1",
	}
	l.Message(m)
	if l.Present().Last != first {
		t.Error("that a message is queued is an event")
	}
	m.Code = outbox.CodePaced
	l.Message(m)
	if got, _ := l.After(first); len(got.Events) != 1 || !strings.Contains(string(got.Events[0].Data), `"paced"`) {
		t.Errorf("why it is queued is not an event: %+v", got.Events)
	}
	before := first + 1
	m.Status, m.Code, m.WhatsAppCode, m.Times[outbox.Failed] = outbox.Failed, outbox.CodeRefused, 463, start
	more := l.Present().More
	l.Message(m)
	<-more
	l.Message(m)
	got, _ := l.After(before)
	var bodies [2]MessageStatus
	for i, e := range got.Events {
		if err := json.Unmarshal(e.Data, &bodies[i]); err != nil || e.Type != MessageChanged {
			t.Fatalf("%s %v", e.Type, err)
		}
	}
	if diff := cmp.Diff(bodies[0], bodies[1]); diff != "" || bodies[0].EventID != "3EB0ABCDEF0123456789AB-failed" {
		t.Errorf("reported again it has the id %s: %s", bodies[1].EventID, diff)
	}
	at := session.Moment{Time: start}
	want := Message{
		ID: m.ID, Status: outbox.Failed, To: Chat{Phone: "+5491123456789", LID: "123456789012345@lid"}, ExpiresAt: at, Reference: "order 1",
		Error: &MessageError{Code: outbox.CodeRefused, WhatsAppCode: 463}, Times: map[outbox.Status]session.Moment{outbox.Queued: at, outbox.Failed: at},
	}
	if diff := cmp.Diff(want, bodies[0].Message); diff != "" {
		t.Error(diff)
	}
	if present := l.Present(); len(present.Events) != int(first) || present.Last != before+2 {
		t.Errorf("%d events up to %d", len(present.Events), present.Last)
	}
}

// Who drops what has an id that was seen before must not drop why a message waits.
func TestEventIDsDifferWhereNewsDiffer(t *testing.T) {
	sending := outbox.Message{ID: "3EB0ABCDEF0123456789AB", Status: outbox.Sending, Attempts: 1}
	waiting, again, sent, read := sending, sending, sending, sending
	waiting.Code, again.Attempts, sent.Status, read.Status = outbox.Code(rpc.SendNewChatsRestricted), 2, outbox.Sent, outbox.Read
	seen := map[string]bool{}
	paced, restricted := waiting, waiting
	paced.Status, paced.Attempts, paced.Code = outbox.Queued, 0, outbox.CodePaced
	restricted.Status, restricted.Until = outbox.Queued, start
	longer := restricted
	longer.Until = start.Add(time.Hour)
	for _, m := range []outbox.Message{sending, waiting, again, sent, read, paced, restricted, longer} {
		id := eventID(m)
		if seen[id] {
			t.Errorf("%s stands for other news, too", id)
		}
		seen[id] = true
	}
	later := sent
	if later.Attempts = 3; eventID(later) != eventID(sent) {
		t.Error("that a message was sent has several ids")
	}
}

func TestReaderThatMissedTooMuchLearnsIt(t *testing.T) {
	l := NewLog("boot", snapshot(nil))
	for i := range Capacity {
		l.Observe(snapshot(func(s *session.Snapshot) { s.Progress = session.Percent(i) }))
	}
	if _, ok := l.After(first - 1); ok {
		t.Error("the event that follows is no longer kept")
	}
	position := first
	for position < first+Capacity {
		b, ok := l.After(position)
		if !ok || len(b.Events) == 0 || len(b.Events) > batchSize {
			t.Fatalf("%v, %d events after %d", ok, len(b.Events), position)
		}
		for _, e := range b.Events {
			if position++; e.Seq != position {
				t.Fatalf("event %d at position %d", e.Seq, position)
			}
		}
		select {
		case <-b.More:
		default:
			if position != first+Capacity {
				t.Fatal("there is more, and More is open")
			}
		}
	}
	if _, ok := l.After(position + 1); ok {
		t.Error("a position that never existed")
	}
}

func TestPositionIsKnownOnlyInTheSameRun(t *testing.T) {
	l := NewLog("boot", snapshot(nil))
	for _, e := range l.Present().Events {
		if seq, err := l.Position(e.ID); err != nil || seq != e.Seq {
			t.Errorf("%s: got %d, %v", e.ID, seq, err)
		}
	}
	for _, id := range []string{"", "1", "other-1", "boot-", "boot-x", "boot--1", "boot-99999999999999999999"} {
		if _, err := l.Position(id); err == nil {
			t.Errorf("%q was found", id)
		}
	}
}

func TestReadersAreWokenAndMissNothing(t *testing.T) {
	l := NewLog("boot", snapshot(nil))
	const events = 200
	var readers sync.WaitGroup
	for range 20 {
		readers.Go(func() {
			for position := first; position < first+events; {
				b, ok := l.After(position)
				if !ok {
					t.Error("missed something")
					return
				}
				for _, e := range b.Events {
					if position++; e.Seq != position {
						t.Errorf("event %d at position %d", e.Seq, position)
					}
				}
				if len(b.Events) == 0 {
					<-b.More
				}
			}
		})
	}
	for i := range events {
		l.Observe(snapshot(func(s *session.Snapshot) { s.Progress = session.Percent(i) }))
	}
	readers.Wait()
}

func TestNoEventHoldsTheQRPayload(t *testing.T) {
	const login = "https://wa.me/settings/linked_devices#2@abcdefghijkl,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,1"
	code, err := qr.Draw(rpc.QRPayload(login))
	if err != nil {
		t.Fatal(err)
	}
	s := snapshot(withQR(1, start))
	s.QR.Code = code
	for _, e := range NewLog("boot", s).Present().Events {
		if strings.Contains(string(e.Data), "2@") || strings.Contains(string(e.Data), "AAAA") || strings.Contains(string(e.Data), string(code.JSON[40:80])) {
			t.Errorf("%s holds it: %s", e.Type, e.Data)
		}
		if body, ok := e.Body.(QR); ok && (body.QR == nil || body.QR.Code != nil) {
			t.Errorf("the event keeps the image: %+v", body.QR)
		}
	}
}
