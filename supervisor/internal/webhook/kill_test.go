package webhook

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/events"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/session"
)

var thorough = flag.Bool("thorough", false, "kill the process that delivers more often")

// envFolder and envURL are set for the process that delivers until it is killed.
const envFolder, envURL = "WEBHOOK_TEST_FOLDER", "WEBHOOK_TEST_URL"

// TestDeliverer is what the other test starts and kills: an outbox whose messages are
// cancelled, and the webhook that reports it.
func TestDeliverer(t *testing.T) {
	folder := os.Getenv(envFolder)
	if folder == "" {
		t.Skip("it is started by TestKillsLoseAndReorderNothing")
	}
	log := events.NewLog("boot", &session.Snapshot{State: session.Init})
	s := New(Options{
		Path: filepath.Join(folder, "webhook"), URL: os.Getenv(envURL), Events: log, Limits: DefaultLimits(),
		Timings: Timings{Attempt: 5 * time.Second, First: time.Millisecond, Max: 4 * time.Millisecond},
		Count:   func(string) {}, Logger: slog.New(slog.DiscardHandler), Host: "host", Instance: "instance",
	})
	box := outbox.New(outbox.Options{
		Path: filepath.Join(folder, "outbox"), Logger: slog.New(slog.DiscardHandler),
		Report: func(ctx context.Context, account rpc.Account, all []outbox.Message) error {
			var reports []events.Report
			for _, m := range all {
				if r, ok := events.ReportOf(m); ok {
					reports = append(reports, r)
				}
			}
			return s.Keep(ctx, account, reports)
		},
	})
	var all sync.WaitGroup
	all.Go(func() { s.Run(t.Context()) })
	all.Go(func() { box.Run(t.Context()) })
	for i := 0; t.Context().Err() == nil; i++ {
		to := rpc.Secret(fmt.Sprint(1+i%3, "@c.us"))
		m, _, err := box.Accept(t.Context(), outbox.Request{Message: rpc.Message{To: to, Text: "text"}})
		if err != nil {
			continue // another process still holds the file
		}
		if _, err := box.Cancel(t.Context(), m.ID); err == nil {
			_, _ = fmt.Fprintf(os.Stdout, "cancelled %s %s\n", m.ID, string(to))
		}
	}
	all.Wait()
}

// arrivals are the messages that a receiver knows of.
type arrivals struct {
	mu sync.Mutex
	// places has for each message how many of its chat came before it first did.
	places map[string]int
	chats  map[string]int
	news   chan struct{} // holds a token after each delivery
}

// ServeHTTP refuses some of what it gets.
func (a *arrivals) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m struct {
		Type events.Type
		Data events.MessageStatus
	}
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &m); err != nil {
		return // the process was killed while it sent
	}
	if rand.IntN(5) == 0 {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, again := a.places[string(m.Data.ID)]; !again && m.Type == events.MessageChanged {
		a.places[string(m.Data.ID)] = a.chats[m.Data.To.Phone]
		a.chats[m.Data.To.Phone]++
	}
	select {
	case a.news <- struct{}{}:
	default:
	}
}

// cancelled is a message that a process has cancelled.
type cancelled struct{ id, to string }

// missing returns how many of the messages have not come.
func (a *arrivals) missing(all []cancelled) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range all {
		if _, ok := a.places[c.id]; !ok {
			n++
		}
	}
	return n
}

// A process is killed again and again while its receiver refuses some of what it delivers.
// Each message that it has cancelled is reported, and in order in its chat.
func TestKillsLoseAndReorderNothing(t *testing.T) {
	kills := 4
	if *thorough {
		kills = 200
	}
	a := &arrivals{places: map[string]int{}, chats: map[string]int{}, news: make(chan struct{}, 1)}
	receiver := httptest.NewServer(a)
	defer receiver.Close()
	folder := t.TempDir()
	var all []cancelled
	for range kills {
		all = append(all, deliverUntilKilled(t, folder, receiver.URL, 1+rand.IntN(30), nil)...)
	}
	complete := make(chan struct{})
	go func() {
		defer close(complete)
		for deadline := time.After(time.Minute); a.missing(all) > 0; {
			select {
			case <-a.news:
			case <-deadline:
				return
			}
		}
	}()
	deliverUntilKilled(t, folder, receiver.URL, 0, complete)
	if n := a.missing(all); n > 0 {
		t.Fatalf("%d of %d are missing", n, len(all))
	}
	last := map[string]int{}
	for _, c := range all {
		if before, ok := last[c.to]; ok && a.places[c.id] < before {
			t.Errorf("%s came before what was cancelled earlier", c.id)
		}
		last[c.to] = a.places[c.id]
	}
	t.Logf("%d messages, %d kills", len(all), kills)
}

// deliverUntilKilled starts a process, and kills it after it has cancelled n messages or when
// enough is closed. It returns those messages.
func deliverUntilKilled(t *testing.T, folder, url string, n int, enough <-chan struct{}) (all []cancelled) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDeliverer$")
	cmd.Env = append(os.Environ(), envFolder+"="+folder, envURL+"="+url)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		select {
		case <-enough:
			_ = cmd.Process.Kill()
		case <-exited:
		}
	}()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var c cancelled
		if _, err := fmt.Sscanf(lines.Text(), "cancelled %s %s", &c.id, &c.to); err != nil {
			continue
		}
		if all = append(all, c); len(all) == n {
			time.AfterFunc(rand.N(5*time.Millisecond), func() { _ = cmd.Process.Kill() })
		}
	}
	close(exited)
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("it was not killed: %v", cmd.ProcessState)
	}
	return all
}
