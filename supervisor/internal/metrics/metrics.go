// Package metrics tells Prometheus about the service, from a registry of its
// own. Every name is in this file and in state.go.
package metrics

import (
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"session-manager/supervisor/internal/session"
)

const namespace = "session_manager"

// Metrics counts what happens, and is asked by Prometheus. Its methods are safe
// for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	transitions *prometheus.CounterVec
	codes       *prometheus.CounterVec
	exits       *prometheus.CounterVec
	timeToQR    prometheus.Histogram
	heartbeats  prometheus.Histogram

	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	inFlight  prometheus.Gauge
	listeners prometheus.Gauge
	webhooks  *prometheus.CounterVec

	mu sync.Mutex
	// seen is the snapshot observed last.
	seen *session.Snapshot // guarded by mu
	// timed is the generation whose first QR has been timed.
	timed uint64 // guarded by mu
}

// New returns Metrics without counts, for a service of this version whose first
// snapshot is first.
func New(version string, first *session.Snapshot) (*Metrics, error) {
	m := &Metrics{
		seen:        first,
		registry:    prometheus.NewRegistry(),
		transitions: counters("session", "transitions_total", "Changes of the session's state.", "from", "to"),
		codes:       counters("qr", "codes_total", "Different QR codes that the page showed, by what found them.", "reader"),
		exits:       counters("worker", "exits_total", "Workers that exited, by cause. Those of the class planned were asked to.", "class", "reason"),
		timeToQR: histogram("qr", "first_seconds", "From the start of a worker to its first QR.",
			1, 2, 3, 5, 8, 13, 21, 34, 60, 120),
		heartbeats: histogram("worker", "heartbeat_interval_seconds", "Between two heartbeats of a worker, of which one is due every three seconds.",
			1, 2, 2.9, 3.1, 3.5, 4, 6, 10),
		requests: counters("http", "requests_total", "Requests answered.", "route", "method", "status"),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: "http", Name: "request_seconds",
			Help:    "How long answers took, those that were asked to wait included.",
			Buckets: []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 60},
		}, []string{"route"}),
		inFlight:  gauge("http", "requests_in_flight", "Requests that are being answered, listeners of events included."),
		listeners: gauge("events", "listeners", "Open streams of events."),
		webhooks:  counters("webhook", "deliveries_total", "Attempts to deliver an event: delivered, failed, or dropped after too many.", "result"),
	}
	for _, c := range []prometheus.Collector{
		m.transitions, m.codes, m.exits, m.timeToQR, m.heartbeats, m.requests, m.durations, m.inFlight, m.listeners, m.webhooks,
		build(version), &state{snapshot: m.snapshot}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := m.registry.Register(c); err != nil {
			return nil, fmt.Errorf("internal error: cannot register metrics: %w", err)
		}
	}
	return m, nil
}

// count adds one. A label that is no text, which only a foreign worker could
// send, is not counted.
func count(c *prometheus.CounterVec, labels ...string) {
	if one, err := c.GetMetricWithLabelValues(labels...); err == nil {
		one.Inc()
	}
}

func counters(subsystem, name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, labels)
}

func histogram(subsystem, name, help string, buckets ...float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, Buckets: buckets,
	})
}

func gauge(subsystem, name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
}

func build(version string) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "1, with the version of the service in its labels.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	})
	g.Set(1)
	return g
}

// Observe counts what leads from the snapshot before to s. The snapshots must
// come in their order.
func (m *Metrics) Observe(s *session.Snapshot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.seen
	m.seen = s
	if s.State != before.State {
		count(m.transitions, string(before.State), string(s.State))
	}
	if e := s.LastExit; e != nil && (before.LastExit == nil || before.LastExit.Generation != e.Generation) {
		count(m.exits, e.Class, string(e.Reason))
	}
	if q := s.QR; q != nil && !q.Same(before.QR) {
		m.countQR(q, s.Worker)
	}
	beat, last := s.Worker.HeartbeatAt, before.Worker.HeartbeatAt
	if beat.After(last.Time) && !last.IsZero() && s.Worker.Generation == before.Worker.Generation {
		m.heartbeats.Observe(beat.Sub(last.Time).Seconds())
	}
}

func (m *Metrics) snapshot() *session.Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen
}

// countQR needs mu.
func (m *Metrics) countQR(q *session.QR, w session.Worker) {
	count(m.codes, q.Reader)
	if m.timed < q.Generation && q.Generation == w.Generation && !w.StartedAt.IsZero() {
		m.timed = q.Generation
		m.timeToQR.Observe(q.IssuedAt.Sub(w.StartedAt.Time).Seconds())
	}
}

// Request counts an answer. route is the pattern that matched, so that callers
// can't make up new ones.
func (m *Metrics) Request(route, method string, status int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		method = "other"
	}
	count(m.requests, route, method, strconv.Itoa(status))
	m.durations.WithLabelValues(route).Observe(took.Seconds())
}

// InFlight counts one more request that is being answered, or, with -1, one less.
func (m *Metrics) InFlight(delta int) { m.inFlight.Add(float64(delta)) }

// Listeners says how many streams of events are open.
func (m *Metrics) Listeners(n int64) { m.listeners.Set(float64(n)) }

// Delivery counts an attempt of the webhook: delivered, failed or dropped.
func (m *Metrics) Delivery(result string) { count(m.webhooks, result) }

// maxScrapes bounds the scrapes at once: each looks through /proc.
const maxScrapes = 2

// Handler answers in the format that the caller accepts.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: maxScrapes, ErrorHandling: promhttp.ContinueOnError,
	})
}
