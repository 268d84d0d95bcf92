package api

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/metrics"
)

// reconnectAfter is how long browsers wait before they reconnect, in milliseconds.
const reconnectAfter = 1000

// streamLimits are the limits of event streams.
type streamLimits struct {
	// listeners bounds the streams that are open at once. Each costs a connection
	// and two goroutines.
	listeners int64
	// heartbeat is shorter than the minute after which proxies close a silent
	// connection (nginx, proxy_read_timeout).
	heartbeat time.Duration
	// take is how long a listener may take to accept what is written. A slower one
	// is dropped; its client reconnects with Last-Event-ID.
	take time.Duration
}

func defaultStreamLimits() streamLimits {
	return streamLimits{listeners: 1000, heartbeat: 15 * time.Second, take: 10 * time.Second}
}

// streams answers for the events.
type streams struct {
	log      *events.Log
	gate     *gate
	metrics  *metrics.Metrics
	draining <-chan struct{}
	limits   streamLimits
	// listeners counts the streams that are open.
	listeners atomic.Int64
}

// open answers GET /events: server-sent events. It begins with the present, one
// event of each type, or, with Last-Event-ID, with what the listener missed.
func (s *streams) open(r *http.Request) http.Handler {
	types, bad := eventTypes(r)
	if bad != nil {
		return bad
	}
	return &stream{s, types}
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

// stream is one listener of the events.
type stream struct {
	*streams
	types []events.Type
}

// ServeHTTP implements http.Handler.
func (s *stream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	open := s.listeners.Add(1)
	s.metrics.Listeners(open)
	defer func() { s.metrics.Listeners(s.listeners.Add(-1)) }()
	if open > s.limits.listeners {
		problem{
			Status: http.StatusServiceUnavailable, Code: "too_many_listeners", retryAfter: 10 * time.Second,
			Detail: fmt.Sprintf("%d listeners are connected, which is the maximum.", s.limits.listeners),
		}.ServeHTTP(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
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
// last event has an id: a listener that loses the connection before it starts
// over.
func (s *stream) first(lastID string, out *eventWriter) events.Batch {
	if position, err := s.log.Position(lastID); err == nil {
		if batch, ok := s.log.After(position); ok {
			s.add(batch, out)
			return batch
		}
	}
	batch := s.log.Present()
	last := len(batch.Events) - 1
	for i := range batch.Events[:last] {
		batch.Events[i].ID = ""
	}
	s.add(batch, out)
	return batch
}

// follow returns when the connection closes, or its key is withdrawn.
func (s *stream) follow(r *http.Request, batch events.Batch, out *eventWriter) {
	heartbeat := time.NewTicker(s.limits.heartbeat)
	defer heartbeat.Stop()
	for {
		select {
		case <-batch.More:
			var ok bool
			if batch, ok = s.log.After(batch.Last); !ok {
				return
			}
			s.add(batch, out)
		case <-heartbeat.C:
			out.buffer.WriteString(": heartbeat\n\n")
		case <-s.draining:
			return
		case <-r.Context().Done():
			return
		}
		if s.gate.authorise(read, r) != nil || out.flush() != nil {
			return
		}
	}
}

// add writes the events of the types asked for. Of the others it writes the id, so
// that they are skipped after a reconnect.
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
