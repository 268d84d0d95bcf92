package api

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"session-manager/supervisor/internal/events"
)

// reconnectAfter is what browsers are told to wait for, in milliseconds.
const reconnectAfter = 1000

// streamLimits are those of the events' listeners.
type streamLimits struct {
	// listeners bounds the streams that are open at once. Each costs a connection
	// and two goroutines.
	listeners int64
	// heartbeat is shorter than the minute after which proxies close a silent
	// connection (nginx, proxy_read_timeout).
	heartbeat time.Duration
	// take is how long a listener may take to accept what is written. One that
	// doesn't is dropped; its client comes back with Last-Event-ID.
	take time.Duration
}

func defaultStreamLimits() streamLimits {
	return streamLimits{listeners: 1000, heartbeat: 15 * time.Second, take: 10 * time.Second}
}

// events answers GET /events: server-sent events. It begins with the present,
// one event of each type, or, with Last-Event-ID, with what the listener missed.
func (a *api) events(r *http.Request) response {
	types, bad := eventTypes(r)
	if bad != nil {
		return *bad
	}
	return &stream{api: a, types: types}
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
				status: http.StatusBadRequest, code: "bad_types",
				detail: fmt.Sprintf("types=%.40q names no type of event.", name),
				hint:   fmt.Sprintf("Use some of %v, separated by commas.", events.Types()),
			}
		}
		types = append(types, events.Type(name))
	}
	return types, nil
}

// stream is one listener of the events.
type stream struct {
	*api
	types []events.Type
}

func (s *stream) write(w http.ResponseWriter, r *http.Request) {
	open := s.listeners.Add(1)
	s.Meter.Listeners(open)
	defer func() { s.Meter.Listeners(s.listeners.Add(-1)) }()
	if open > s.limits.listeners {
		problem{
			status: http.StatusServiceUnavailable, code: "too_many_listeners", retryAfter: 10 * time.Second,
			detail: fmt.Sprintf("%d listeners are connected, and no more are allowed.", s.limits.listeners),
		}.write(w, r)
		return
	}
	h := w.Header()
	standard(h, "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	if r.Method == http.MethodHead {
		return
	}
	out := &eventWriter{w: w, control: http.NewResponseController(w), take: s.limits.take}
	fmt.Fprintf(&out.buffer, "retry: %d\n\n", reconnectAfter)
	batch := s.first(r.Header.Get("Last-Event-ID"), out)
	if out.flush() == nil {
		s.follow(r, batch, out)
	}
}

// first writes what the listener has to know at once. Of the present only the
// last event has an id: a listener who lost the connection before it came begins
// anew.
func (s *stream) first(lastID string, out *eventWriter) events.Batch {
	if position, err := s.Events.Position(lastID); err == nil {
		if batch, ok := s.Events.After(position); ok {
			s.add(batch, out)
			return batch
		}
	}
	batch := s.Events.Present()
	last := len(batch.Events) - 1
	for i := range batch.Events[:last] {
		batch.Events[i].ID = ""
	}
	s.add(batch, out)
	return batch
}

// follow ends when the connection does, or the key that it was opened with.
func (s *stream) follow(r *http.Request, batch events.Batch, out *eventWriter) {
	heartbeat := time.NewTicker(s.limits.heartbeat)
	defer heartbeat.Stop()
	for {
		select {
		case <-batch.More:
			var ok bool
			if batch, ok = s.Events.After(batch.Last); !ok {
				return
			}
			s.add(batch, out)
		case <-heartbeat.C:
			out.buffer.WriteString(": heartbeat\n\n")
		case <-s.Draining:
			return
		case <-r.Context().Done():
			return
		}
		if s.authorise(read, r) != nil || out.flush() != nil {
			return
		}
	}
}

// add writes the events of the types asked for. Of the others it keeps the id,
// so that they are not looked through again after a reconnect.
func (s *stream) add(batch events.Batch, out *eventWriter) {
	for _, e := range batch.Events {
		if slices.Contains(s.types, e.Type) {
			out.event(e)
		} else if e.ID != "" {
			fmt.Fprintf(&out.buffer, "id: %s\n\n", e.ID)
		}
	}
}

// eventWriter collects frames and hands them to the connection.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	take    time.Duration
	buffer  bytes.Buffer
}

func (o *eventWriter) event(e events.Event) {
	if e.ID != "" {
		fmt.Fprintf(&o.buffer, "id: %s\n", e.ID)
	}
	fmt.Fprintf(&o.buffer, "event: %s\ndata: %s\n\n", e.Type, e.Data)
}

// flush sends what was collected. The deadline holds for this write only: it
// replaces the server's, which is meant for answers that end.
func (o *eventWriter) flush() error {
	if err := o.deadline(time.Now().Add(o.take)); err != nil {
		return err
	}
	if _, err := o.w.Write(o.buffer.Bytes()); err != nil {
		return err
	}
	o.buffer.Reset()
	if err := o.control.Flush(); err != nil {
		return err
	}
	return o.deadline(time.Time{})
}

func (o *eventWriter) deadline(t time.Time) error {
	if err := o.control.SetWriteDeadline(t); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
