// Package metrics exports metrics of the service to Prometheus, from a registry of
// its own.
package metrics

import (
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"session-manager/shared/proctree"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/session"
)

const namespace = "session_manager"

// traffic counts what is sent and received.
type traffic struct{ webhooks, attempts, received *prometheus.CounterVec }

// Metrics counts what happens, and serves it to Prometheus. Its methods are safe
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
	traffic
	// InFlight are the requests that are being answered.
	InFlight prometheus.Gauge
	// Listeners are the event streams that are open.
	Listeners prometheus.Gauge

	mu sync.Mutex
	// seen is the snapshot observed last.
	seen *session.Snapshot // guarded by mu
	// timed is the generation whose first QR has been timed.
	timed uint64 // guarded by mu
}

// New returns Metrics without counts, for a service of this version whose first
// snapshot is first. dropped returns how many lines the log has lost.
func New(version string, first *session.Snapshot, dropped func() uint64) *Metrics {
	m := &Metrics{
		seen:        first,
		registry:    prometheus.NewRegistry(),
		transitions: counter("session", "transitions_total", "Changes of the session's state.", "from", "to"),
		codes:       counter("qr", "codes_total", "Different QR codes that the page showed, by the reader that found them.", "reader"),
		exits:       counter("worker", "exits_total", "Workers that exited, by cause. Those of the class planned were asked to.", "class", "reason"),
		timeToQR: prometheus.NewHistogram(histogram("qr", "first_seconds", "Time from the start of a worker to its first QR.",
			1, 2, 3, 5, 8, 13, 21, 34, 60, 120)),
		heartbeats: prometheus.NewHistogram(histogram("worker", "heartbeat_interval_seconds", "Time between two heartbeats of a worker, which sends one every three seconds.",
			1, 2, 2.9, 3.1, 3.5, 4, 6, 10)),
		requests: counter("http", "requests_total", "Requests answered.", "route", "method", "status"),
		durations: prometheus.NewHistogramVec(histogram("http", "request_seconds", "Time to answer a request, including the time that the caller asked to wait.",
			0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 60), []string{"route"}),
		InFlight:  gauge("http", "requests_in_flight", "Requests being answered, including event streams."),
		Listeners: gauge("events", "listeners", "Open event streams."),
		traffic: traffic{
			attempts: counter("outbox", "attempts_total", "Attempts to send a message: stored by the page, failed, unknown, or deferred; damaged: a message in the database could not be read.", "result"),
			received: counter("inbox", "events_total", "Events of received messages; unannounced: messages were found that the page had not announced.", "kind"),
			webhooks: counter("webhook", "deliveries_total", "Attempts to deliver an event: delivered, failed, or dropped after too many failures.", "result"),
		},
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1, with the version of the service in its labels.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	})
	build.Set(1)
	lost := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Subsystem: "log", Name: "dropped_lines_total", Help: "Log lines that could not be written in time, or at all.",
	}, func() float64 { return float64(dropped()) })
	m.registry.MustRegister(
		m.transitions, m.codes, m.exits, m.timeToQR, m.heartbeats, m.requests, m.durations, m.InFlight, m.Listeners, m.webhooks, m.attempts, m.received,
		lost, build, present{m}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

func counter(subsystem, name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, labels)
}

func histogram(subsystem, name, help string, buckets ...float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, Buckets: buckets}
}

func gauge(subsystem, name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
}

// count adds one. A label that is not valid UTF-8, which only a foreign worker
// could send, is not counted.
func count(c *prometheus.CounterVec, labels ...string) {
	if one, err := c.GetMetricWithLabelValues(labels...); err == nil {
		one.Inc()
	}
}

// Observe counts what changed between the previous snapshot and s. Snapshots must
// come in order.
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
		count(m.codes, q.Reader)
		if m.timed < q.Generation && q.Generation == s.Worker.Generation && !s.Worker.StartedAt.IsZero() {
			m.timed = q.Generation
			m.timeToQR.Observe(q.IssuedAt.Sub(s.Worker.StartedAt.Time).Seconds())
		}
	}
	beat, last := s.Worker.HeartbeatAt, before.Worker.HeartbeatAt
	if beat.After(last.Time) && !last.IsZero() && s.Worker.Generation == before.Worker.Generation {
		m.heartbeats.Observe(beat.Sub(last.Time).Seconds())
	}
}

// Request counts an answer. route is the pattern that matched, so that callers
// can't invent new ones.
func (m *Metrics) Request(route, method string, status int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete:
	default:
		method = "other"
	}
	count(m.requests, route, method, strconv.Itoa(status))
	m.durations.WithLabelValues(route).Observe(took.Seconds())
}

// Delivery counts an attempt of the webhook: delivered, failed or dropped.
func (m *Metrics) Delivery(result string) { count(m.webhooks, result) }

// Attempt counts an attempt to send a message: stored, failed, unknown or deferred.
func (m *Metrics) Attempt(result string) { count(m.attempts, result) }

// Received counts an event of a received message.
func (m *Metrics) Received(kind string) { count(m.received, kind) }

// Outbox exports what an outbox keeps. It must be called at most once.
func (m *Metrics) Outbox(stats func() outbox.Stats) { m.registry.MustRegister(kept{stats}) }

// kept collects what an outbox keeps, at the moment of the scrape.
type kept struct{ stats func() outbox.Stats }

var (
	keptMessages  = prometheus.NewDesc(namespace+"_outbox_messages", "Messages that are kept, by status.", []string{"status"}, nil)
	oldestWaiting = prometheus.NewDesc(namespace+"_outbox_oldest_age_seconds", "Time for which a message has waited to be sent; absent if none waits.", nil, nil)
)

// Describe implements prometheus.Collector.
func (kept) Describe(ch chan<- *prometheus.Desc) { ch <- keptMessages; ch <- oldestWaiting }

// Collect implements prometheus.Collector.
func (k kept) Collect(ch chan<- prometheus.Metric) {
	stats := k.stats()
	for status, n := range stats.ByStatus {
		ch <- prometheus.MustNewConstMetric(keptMessages, prometheus.GaugeValue, float64(n), string(status))
	}
	if !stats.OldestWaiting.IsZero() {
		ch <- prometheus.MustNewConstMetric(oldestWaiting, prometheus.GaugeValue, time.Since(stats.OldestWaiting).Seconds())
	}
}

// maxScrapes bounds concurrent scrapes: each reads /proc.
const maxScrapes = 2

// Handler answers in the format that the caller accepts.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: maxScrapes, ErrorHandling: promhttp.ContinueOnError,
	})
}

// present collects what is true of the last snapshot, at the moment of the scrape.
type present struct{ m *Metrics }

// Describe implements prometheus.Collector. It describes nothing, because what is
// collected depends on the snapshot: a metric without a value is left out.
func (present) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (p present) Collect(ch chan<- prometheus.Metric) {
	p.m.mu.Lock()
	s := p.m.seen
	p.m.mu.Unlock()
	now := time.Now()
	// send exports a value, with a label's name and value if there is one.
	send := func(name, help string, value float64, label ...string) {
		half := len(label) / 2
		desc := prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, label[:half], nil)
		if m, err := prometheus.NewConstMetric(desc, prometheus.GaugeValue, value, label[half:]...); err == nil {
			ch <- m
		}
	}
	age := func(name, help string, t session.Moment) {
		if !t.IsZero() {
			send(name, help, now.Sub(t.Time).Seconds())
		}
	}
	for _, known := range session.States() {
		send("session_state", "1 for the present state, 0 for the others.", number(s.State == known), "state", string(known))
	}
	send("session_reason", "Always 1, with the reason for the state in its label.", 1, "reason", string(s.Reason.Code))
	send("session_warnings", "How many things need attention but leave the state alone.", float64(len(s.Warnings)))
	for _, w := range s.Warnings {
		send("session_warning", "Always 1 while something needs attention but leaves the state alone, with the reason in its label.", 1, "reason", string(w.Code))
	}
	send("session_state_since_timestamp_seconds", "When the present state was entered.", unix(s.Since))
	age("session_evidence_age_seconds", "Time since the page was last observed.", s.EvidenceAt)

	send("login_saved", "1 while there is a login on disk.", number(!s.Login.PersistedAt.IsZero() && s.Login.LoggedOutAt.IsZero()))
	age("login_backup_age_seconds", "Time since the login was last backed up; absent without a backup.", s.Login.BackupAt)
	age("login_backup_verified_age_seconds", "Time since a backup that is kept was last opened in a Chrome; absent if none was.", s.Login.BackupVerifiedAt)

	if sending := s.Sending; sending != nil {
		send("sending_possible", "1 while the page can send messages; absent while that is not known.", number(sending.Possible))
		send("new_chats_restricted", "1 while WhatsApp does not let the account write to new people.", number(sending.NewChats.Restricted || sending.NewChats.Capped))
		send("new_chats_used", "New chats of the present cycle.", float64(sending.NewChats.Used))
		send("new_chats_quota", "New chats that WhatsApp allows in the present cycle, 0 for no limit.", float64(sending.NewChats.Quota))
	}

	q := s.FreshQR(now)
	send("qr_available", "1 while there is a QR that a phone could scan.", number(q != nil))
	if q != nil {
		age("qr_age_seconds", "Time for which the present QR has been shown.", q.IssuedAt)
		send("qr_expires_in_seconds", "Time for which the present QR can still be scanned.", q.ExpiresAt.Sub(now).Seconds())
		send("qr_reader", "Always 1, with the reader that found the present QR in its label.", 1, "reader", q.Reader)
	}

	send("worker_up", "1 while there is a worker process.", number(s.Worker.PID != 0))
	send("worker_generation", "The number of the present worker.", float64(s.Worker.Generation))
	if s.Worker.PID != 0 {
		send("worker_start_timestamp_seconds", "When the present worker was started.", unix(s.Worker.StartedAt))
		age("worker_heartbeat_age_seconds", "Time since the worker's last heartbeat.", s.Worker.HeartbeatAt)
	}
	bytes, chrome := measure(s.Worker.PID)
	for name, n := range bytes {
		send("memory_bytes", "Memory of the supervisor, the worker and all of Chrome, without pages of files.", float64(n), "process", name)
	}
	send("processes", "Number of Chrome's processes.", float64(chrome), "process", "chrome")
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unix(t session.Moment) float64 { return float64(t.UnixMilli()) / 1000 }

// measure returns the memory of each kind of process, and how many processes Chrome
// has: everything below the worker.
func measure(worker int) (bytes map[string]uint64, chrome int) {
	bytes = map[string]uint64{"supervisor": proctree.Memory(os.Getpid())}
	if worker == 0 {
		return bytes, 0
	}
	bytes["worker"] = proctree.Memory(worker)
	below, _ := proctree.Descendants(worker) // nothing, if the worker has just exited
	for _, p := range below {
		bytes["chrome"] += proctree.Memory(p.PID)
	}
	return bytes, len(below)
}
