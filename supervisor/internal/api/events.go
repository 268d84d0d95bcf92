package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/inbox"
	"session-manager/supervisor/internal/metrics"
)

// reconnectAfter is how long browsers wait before they reconnect, in milliseconds.
const reconnectAfter = 1000

// streamLimits are the limits of event streams.
type streamLimits struct {
	// heartbeat is shorter than the minute after which proxies close a silent
	// connection (nginx, proxy_read_timeout).
	heartbeat time.Duration
	// take is how long a listener may take to accept what is written. A slower one
	// is dropped; its client reconnects with Last-Event-ID.
	take time.Duration
}

// streams answers for the events.
type streams struct {
	log      *events.Log
	inbox    Inbox // nil if nothing is received
	gate     *gate
	metrics  *metrics.Metrics
	draining <-chan struct{}
	limits   streamLimits
	// listeners bounds the streams that are open at once. Each costs a connection
	// and two goroutines.
	listeners *shares
}

// open answers GET /events: server-sent events, those of messages only for whoever may
// send them. It begins with the present, one
// event of each type, or, with Last-Event-ID, with what the listener missed.
func (s *streams) open(r *http.Request) http.Handler {
	asked, bad := eventTypes(r)
	if bad != nil {
		return bad
	}
	var types []events.Type
	needs := []access{read}
	for _, one := range asked {
		need := needOf(one)
		switch bad := s.gate.authorise(need, r); {
		case bad == nil:
			types, needs = append(types, one), append(needs, need)
		case r.URL.Query().Get("types") != "":
			return bad
		}
	}
	slices.Sort(needs)
	needs = slices.Compact(needs)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		release, bad := s.listeners.take(r)
		if bad != nil {
			bad.ServeHTTP(w, r)
			return
		}
		defer release()
		s.metrics.Listeners.Inc()
		defer s.metrics.Listeners.Dec()
		h := w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("X-Accel-Buffering", "no") // nginx would hold events back
		if r.Method != http.MethodHead {
			one := &stream{streams: s, types: types, needs: needs, w: w, control: http.NewResponseController(w)}
			one.follow(r)
		}
	})
}

// needOf is what events of a type need besides read.
func needOf(t events.Type) access {
	switch {
	case t == events.MessageChanged:
		return send
	case t.IsReceived():
		return receive
	}
	return read
}

func eventTypes(r *http.Request) ([]events.Type, *problem) {
	text := r.URL.Query().Get("types")
	if text == "" {
		return events.Types(), nil
	}
	var types []events.Type
	for name := range strings.SplitSeq(text, ",") {
		if !slices.Contains(events.Types(), events.Type(name)) {
			return nil, &problem{
				Status: http.StatusBadRequest, Code: "bad_types",
				Detail: fmt.Sprintf("types=%.40q has an unknown type of event.", name),
				Hint:   fmt.Sprintf("Use some of %v, separated by commas.", events.Types()),
			}
		}
		types = append(types, events.Type(name))
	}
	return types, nil
}

// stream is the connection of one listener. It collects frames in buffer until they are flushed.
type stream struct {
	*streams
	types   []events.Type
	needs   []access
	w       http.ResponseWriter
	control *http.ResponseController
	buffer  bytes.Buffer
	// place is the listener's in the inbox, as far as it is known, for ids from before that was opened.
	place string
	// missed is a cursor of the inbox that could not be read, empty without one. Until the stream ends no id is
	// written then, so that the listener comes back for it.
	missed string
}

// follow returns when the connection closes, its key is withdrawn, or the service
// stops.
func (s *stream) follow(r *http.Request) {
	fmt.Fprintf(&s.buffer, "retry: %d\n\n", reconnectAfter)
	batch := s.first(r.Header.Get("Last-Event-ID"))
	s.add(batch)
	heartbeat := time.NewTicker(s.limits.heartbeat)
	defer heartbeat.Stop()
	for s.flush() == nil {
		select {
		case <-batch.More:
			var ok bool
			if batch, ok = s.log.After(batch.Last); !ok {
				return
			}
			s.add(batch)
		case <-heartbeat.C:
			if s.missed != "" && s.readable() {
				return
			}
			s.buffer.WriteString(": heartbeat\n\n")
		case <-s.draining:
			return
		case <-r.Context().Done():
			return
		}
		if slices.ContainsFunc(s.needs, func(need access) bool { return s.gate.authorise(need, r) != nil }) {
			return
		}
	}
}

// first returns what the listener missed, or else the present. Of the present only
// the last event has an id: a listener that loses the connection before that starts
// over.
func (s *stream) first(lastID string) events.Batch {
	s.place = events.Cursor(lastID)
	if position, err := s.log.Position(lastID); err == nil {
		if batch, ok := s.log.After(position); ok {
			return batch
		}
	}
	batch := s.log.Present() // before the replay, so that what arrives meanwhile follows
	s.replay()
	for i := range len(batch.Events) - 1 {
		batch.Events[i].ID = ""
	}
	return batch
}

// add writes the events of the types asked for. Of the others it writes the id, so
// that they are skipped after a reconnect.
func (s *stream) add(batch events.Batch) {
	for _, e := range batch.Events {
		data, wanted := e.Data, slices.Contains(s.types, e.Type)
		if wanted && e.Cursor != "" {
			data = s.received(e.Cursor)
		}
		id := e.ID != "" && s.missed == ""
		if id {
			fmt.Fprintf(&s.buffer, "id: %s\n", events.WithCursor(e.ID, s.place))
		}
		if wanted && data != nil {
			fmt.Fprintf(&s.buffer, "event: %s\ndata: %s\n\n", e.Type, data)
		} else if id {
			s.buffer.WriteString("\n")
		}
	}
}

// received returns an event that the inbox keeps, by the cursor after it, or nil.
func (s *stream) received(cursor string) json.RawMessage {
	if s.inbox == nil {
		return nil
	}
	list, _, _, _, err := s.inbox.List(context.Background(), inbox.Before(cursor), 1)
	if errors.Is(err, inbox.ErrUnavailable) {
		s.missed = cursor
	}
	if err != nil || len(list) == 0 || list[0].Cursor != cursor {
		return nil // it was dropped
	}
	data, _ := json.Marshal(list[0]) // it has a JSON form
	return data
}

// readable reports whether the inbox can be read now.
func (s *stream) readable() bool {
	_, _, _, _, err := s.inbox.List(context.Background(), s.missed, 1)
	return !errors.Is(err, inbox.ErrUnavailable)
}

// replay adds the inbox's events after the listener's place, which is of an earlier run. If some were
// dropped, it adds that, and all that are kept.
func (s *stream) replay() {
	from := s.place
	for more := s.inbox != nil && from != ""; more; {
		list, next, again, _, err := s.inbox.List(context.Background(), from, inbox.MaxList)
		if errors.Is(err, inbox.ErrLost) {
			list, next, again, err = []inbox.Event{inbox.CursorLost(s.place)}, "", true, nil
		}
		if err != nil {
			if errors.Is(err, inbox.ErrUnavailable) {
				s.missed = s.place
			}
			return // the listener can ask GET /messages, which explains why
		}
		for _, e := range list {
			if data, err := json.Marshal(e); err == nil && slices.Contains(s.types, events.Type(e.Kind)) {
				fmt.Fprintf(&s.buffer, "event: %s\ndata: %s\n\n", e.Kind, data)
			}
		}
		from, s.place, more = next, cmp.Or(next, s.place), again && s.flush() == nil
	}
}

// flush sends what was collected. The deadline holds for this write only: it
// replaces the server's, which is meant for answers that end.
func (s *stream) flush() error {
	if err := s.control.SetWriteDeadline(time.Now().Add(s.limits.take)); err != nil {
		return err
	}
	if _, err := s.w.Write(s.buffer.Bytes()); err != nil {
		return err
	}
	s.buffer.Reset()
	if err := s.control.Flush(); err != nil {
		return err
	}
	return s.control.SetWriteDeadline(time.Time{})
}
