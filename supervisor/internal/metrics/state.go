package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"session-manager/supervisor/internal/session"
)

// state tells of the snapshot at the moment of the scrape.
type state struct{ snapshot func() *session.Snapshot }

func describe(subsystem, name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, labels, nil)
}

// What is true at one moment. A value that there is none of is left out.
var (
	sessionState  = describe("session", "state", "1 for the present state, 0 for the others.", "state")
	sessionSince  = describe("session", "state_since_timestamp_seconds", "When the present state was entered.")
	sessionReason = describe("session", "reason", "1, with the reason for the state in its label.", "reason")
	evidenceAge   = describe("session", "evidence_age_seconds", "How long ago the page was last heard of.")

	qrAvailable = describe("qr", "available", "1 while there is a QR that a phone could scan.")
	qrAge       = describe("qr", "age_seconds", "How long the present QR has been shown.")
	qrExpiry    = describe("qr", "expires_in_seconds", "How long the present QR can still be scanned.")
	qrReader    = describe("qr", "reader", "1, with what found the present QR in its label.", "reader")

	workerUp         = describe("worker", "up", "1 while there is a worker process.")
	workerGeneration = describe("worker", "generation", "The present worker's number.")
	workerStarted    = describe("worker", "start_timestamp_seconds", "When the present worker was started.")
	heartbeatAge     = describe("worker", "heartbeat_age_seconds", "How long ago the worker's last heartbeat came.")

	memoryBytes = describe("", "memory_bytes", "Memory of the supervisor, the worker and all of Chrome. Pages that Chrome's processes share are counted once, where the kernel tells.", "process")
	processes   = describe("", "processes", "Processes of Chrome.", "process")
)

// Describe implements prometheus.Collector.
func (c *state) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		sessionState, sessionSince, sessionReason, evidenceAge, qrAvailable, qrAge, qrExpiry, qrReader,
		workerUp, workerGeneration, workerStarted, heartbeatAge, memoryBytes, processes,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *state) Collect(ch chan<- prometheus.Metric) {
	s, now := c.snapshot(), time.Now()
	send := func(d *prometheus.Desc, value float64, labels ...string) {
		if m, err := prometheus.NewConstMetric(d, prometheus.GaugeValue, value, labels...); err == nil {
			ch <- m
		}
	}
	age := func(d *prometheus.Desc, t session.Moment) {
		if !t.IsZero() {
			send(d, now.Sub(t.Time).Seconds())
		}
	}
	for _, known := range session.States() {
		send(sessionState, number(s.State == known), string(known))
	}
	send(sessionReason, 1, string(s.Reason.Code))
	send(sessionSince, seconds(s.Since.Time))
	age(evidenceAge, s.EvidenceAt)

	q := s.FreshQR(now)
	send(qrAvailable, number(q != nil))
	if q != nil {
		age(qrAge, q.IssuedAt)
		send(qrExpiry, q.ExpiresAt.Sub(now).Seconds())
		send(qrReader, 1, q.Reader)
	}

	send(workerUp, number(s.Worker.PID != 0))
	send(workerGeneration, float64(s.Worker.Generation))
	if s.Worker.PID != 0 {
		send(workerStarted, seconds(s.Worker.StartedAt.Time))
		age(heartbeatAge, s.Worker.HeartbeatAt)
	}
	m := measure(s.Worker.PID)
	for name, bytes := range m.bytes {
		send(memoryBytes, float64(bytes), name)
	}
	send(processes, float64(m.chrome), "chrome")
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
