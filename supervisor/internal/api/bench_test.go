package api

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/qr"
	"session-manager/supervisor/internal/session"
)

// connections is how many callers ask at once.
const connections = 64

// BenchmarkAnswers compares /status and /qr with a bare handler that writes the
// same bytes. The ratio of their throughputs should not be below 0.8.
func BenchmarkAnswers(b *testing.B) {
	code, err := qr.Draw(rpc.QRPayload(testPayload))
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	f := newFakeSession(session.Snapshot{
		State: session.QRRequired, QR: &session.QR{Code: code, Generation: 1, Seq: 1, IssuedAt: moment(now), ExpiresAt: moment(now.Add(time.Hour))},
	})
	f.watched = nil
	ours := httptest.NewServer(made(b, Options{Session: f}).router())
	defer ours.Close()
	for path, body := range map[string]string{
		"/status": `{"status":"QR_REQUIRED"}`, "/qr": string(code.JSON),
	} {
		b.Run(path[1:], func(b *testing.B) {
			bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", jsonType)
				w.Header().Set("Content-Length", strconv.Itoa(len(body)))
				_, _ = io.WriteString(w, body)
			}))
			defer bare.Close()
			var took [2]time.Duration
			for b.Loop() {
				for i, url := range []string{bare.URL, ours.URL + path} {
					took[i] += volley(b, url)
				}
			}
			b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "ratio")
			b.ReportMetric(float64(took[1].Microseconds())/float64(b.N*connections*volleyEach), "µs/request")
		})
	}
}

// volleyEach is how often each connection asks in one volley.
const volleyEach = 50

// volley asks on all connections at once and returns how long it took.
func volley(b *testing.B, url string) time.Duration {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	start := time.Now()
	var all sync.WaitGroup
	for range connections {
		all.Go(func() {
			for range volleyEach {
				resp, err := client.Get(url)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
	}
	all.Wait()
	return time.Since(start)
}
