package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
	"session-manager/shared/proctree"
)

// fetched is the answer to a request for a file.
type fetched struct {
	status int
	header http.Header
	body   []byte
}

// tryFile asks for a file.
func (s *service) tryFile(ctx context.Context, method, id, byteRange string) (got fetched, err error) {
	r, err := http.NewRequestWithContext(ctx, method, s.Base+"/media/"+id, nil)
	if err != nil {
		return got, err
	}
	if byteRange != "" {
		r.Header.Set("Range", byteRange)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return got, err
	}
	defer func() { _ = a.Body.Close() }()
	body, err := io.ReadAll(a.Body)
	return fetched{a.StatusCode, a.Header, body}, err
}

// wantFile asks for a file that must be served whole.
func (s *service) wantFile(id string, content []byte) {
	s.t.Helper()
	got, err := s.tryFile(within(s.t), http.MethodGet, id, "")
	if err != nil || got.status != http.StatusOK || !bytes.Equal(got.body, content) {
		s.t.Errorf("%d bytes, %d, %v; session: %s", len(got.body), got.status, err, s.describe())
	}
}

// files sends files to the account, and returns the ids to ask for them.
type files struct {
	p      *phone
	cursor string
}

func (f *files) deliver(s *service, kind, mime, name string, content []byte) (message, id string) {
	s.t.Helper()
	message = f.p.Deliver(simulator.Incoming{From: ada[1:], Kind: kind, Text: marker, File: &simulator.IncomingFile{MIME: mime, Name: name, Content: content}})
	all, next := s.awaitReports(f.cursor, 1)
	f.cursor = next
	m := all[0]
	if m.ID != message || m.Type != kind || m.Text != marker || m.Media.ID == "" || m.Media.MIME != mime || m.Media.Name != name || m.Media.Size != len(content) {
		s.t.Errorf("reported as %+v", m)
	}
	return message, m.Media.ID
}

// set has the simulator's server of files misbehave, or not.
func (f *files) set(t *testing.T, faults ...string) {
	t.Helper()
	f.p.ClearFaults()
	for _, fault := range faults {
		if err := f.p.SetFault(fault); err != nil {
			t.Fatal(err)
		}
	}
}

// asking asks for a file that the server of files does not send, and returns once that is known, and
// what to wait for the answer with.
func (f *files) asking(s *service, message, id string) func() fetched {
	s.t.Helper()
	type result struct {
		fetched
		err error
	}
	done := make(chan result, 1)
	ctx := within(s.t)
	go func() {
		got, err := s.tryFile(ctx, http.MethodGet, id, "")
		done <- result{got, err}
	}()
	for !slices.Contains(f.p.Downloads(), message) {
		if harness.Pause(ctx, 20*time.Millisecond) != nil {
			s.t.Fatalf("it was not downloaded; session: %s", s.describe())
		}
	}
	return func() fetched {
		s.t.Helper()
		got := <-done
		if got.err != nil {
			s.t.Logf("the request failed: %v", got.err)
		}
		return got.fetched
	}
}

// TestReceivedFilesAreServedAsTheyWereSent follows one service.
func TestReceivedFilesAreServedAsTheyWereSent(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	p, tokens := newPhone(t, simulator.Options{}), t.TempDir()
	s, f := linked(t, p, tokens, append([]string{"--media-limit", "128M"}, receiving...)...), &files{p: p}
	content := make([]byte, 1<<20)
	_, _ = rand.Read(content)
	copy(content, marker)
	_, document := f.deliver(s, "document", "application/pdf", "the plan.pdf", content)
	picture := aFile(t, 3, "").content
	_, image := f.deliver(s, "image", "image/png", "", picture)
	for range 2 {
		s.wantFile(document, content)
		s.wantFile(image, picture)
	}
	if got, err := s.tryFile(within(t), http.MethodGet, document, "bytes=1000-1999"); err != nil || got.status != http.StatusPartialContent || !bytes.Equal(got.body, content[1000:2000]) {
		t.Errorf("a range: %d, %d bytes, %v", got.status, len(got.body), err)
	}
	if got, err := s.tryFile(within(t), http.MethodHead, document, ""); err != nil || got.header.Get("Content-Length") != "1048576" ||
		got.header.Get("Content-Type") != "application/pdf" || got.header.Get("Content-Disposition") != `attachment; filename="the plan.pdf"` {
		t.Errorf("HEAD: %v, %v", got.header, err)
	}
	if n := len(p.Downloads()); n != 2 {
		t.Errorf("there were %d downloads", n)
	}
	if *thorough {
		f.checkLarge(s)
	}
	f.checkLinks(s, content[:1000])
	f.checkKilledWorker(s, content)
	s = f.checkKilledService(s, tokens, document, content)
	answersHold(t, s, ada[1:])
	processesHold(t, s, marker)
	s.stop()
	if log := s.Log(); strings.Contains(log, marker) || strings.Contains(log, "the plan") {
		t.Error("a file, its name or its caption is in the log")
	}
}

// checkLarge has a file of 100 MB arrive, of which neither process holds much at any time.
func (f *files) checkLarge(s *service) {
	s.t.Helper()
	const size = 100 << 20
	content := make([]byte, size)
	_, _ = rand.Read(content)
	_, id := f.deliver(s, "document", "application/pdf", "large.pdf", content)
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Minute)
	defer cancel()
	var got fetched
	var err error
	s.watchMemory(40<<20, func() {
		for got.status = http.StatusServiceUnavailable; got.status == http.StatusServiceUnavailable && err == nil; { // it is asked for again
			got, err = s.tryFile(ctx, http.MethodGet, id, "")
		}
	})
	if err != nil || got.status != http.StatusOK || !bytes.Equal(got.body, content) {
		s.t.Fatalf("%d bytes, %d, %v; session: %s", len(got.body), got.status, err, s.describe())
	}
	for asked, want := range map[string][]byte{"bytes=50000000-50999999": content[50_000_000:51_000_000], "bytes=-1000": content[size-1000:], "bytes=104857599-": content[size-1:]} {
		if got, err := s.tryFile(ctx, http.MethodGet, id, asked); err != nil || got.status != http.StatusPartialContent || !bytes.Equal(got.body, want) {
			s.t.Errorf("%s: %d, %d bytes, %v", asked, got.status, len(got.body), err)
		}
	}
	if got, err := s.tryFile(ctx, http.MethodGet, id, "bytes=104857600-"); err != nil || got.status != http.StatusRequestedRangeNotSatisfiable {
		s.t.Errorf("after the end: %d, %v", got.status, err)
	}
}

// watchMemory checks that neither process holds so many bytes more while something is done.
func (s *service) watchMemory(limit uint64, do func()) {
	s.t.Helper()
	pids := []int{s.PID(), s.session().Worker.PID}
	var before, most [2]uint64
	for i, pid := range pids {
		before[i] = proctree.Memory(pid)
	}
	begun, done := time.Now(), make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	for watching := true; watching; {
		select {
		case <-done:
			watching = false
		case <-time.After(10 * time.Millisecond):
		}
		for i, pid := range pids {
			most[i] = max(most[i], proctree.Memory(pid))
		}
	}
	s.t.Logf("it took %v; memory of supervisor and worker: %v, at most %v bytes", time.Since(begun), before, most)
	if most[0] > before[0]+limit || most[1] > before[1]+limit {
		s.t.Errorf("memory of supervisor and worker: %v, at most %v bytes", before, most)
	}
}

// checkLinks has links that have expired: the sender still has one of the files.
func (f *files) checkLinks(s *service, content []byte) {
	s.t.Helper()
	f.set(s.t, "download=expired")
	renewed, id := f.deliver(s, "document", "text/plain", "a", content)
	s.wantFile(id, content)
	f.set(s.t, "download=gone")
	gone, id := f.deliver(s, "document", "text/plain", "b", content)
	if got, err := s.tryFile(within(s.t), http.MethodGet, id, ""); err != nil || got.status != http.StatusGone || !strings.Contains(string(got.body), `"media_gone"`) {
		s.t.Errorf("a file that is gone: %d %.200s, %v", got.status, got.body, err)
	}
	f.set(s.t)
	if done := f.p.Errands(); !slices.Equal(done, []string{"reupload " + renewed, "reupload " + gone}) {
		s.t.Errorf("the page has done %v", done)
	}
}

// checkKilledWorker kills the worker while somebody waits for a file.
func (f *files) checkKilledWorker(s *service, content []byte) {
	s.t.Helper()
	f.set(s.t, "download=slow:600000")
	message, id := f.deliver(s, "document", "text/html", "c", content)
	answer := f.asking(s, message, id)
	f.set(s.t)
	before := s.session()
	_ = syscall.Kill(before.Worker.PID, syscall.SIGKILL)
	if got := answer(); got.status != http.StatusOK || !bytes.Equal(got.body, content) || got.header.Get("Content-Type") != "application/octet-stream" {
		s.t.Errorf("%d, %d bytes, %v; session: %s", got.status, len(got.body), got.header, s.describe())
	}
	if after := s.session(); after.Worker.Generation == before.Worker.Generation {
		s.t.Error("the worker was not killed")
	}
}

// checkKilledService kills everything while a file is being downloaded: what was downloaded before
// is still there, and nothing else.
func (f *files) checkKilledService(s *service, tokens, document string, content []byte) *service {
	s.t.Helper()
	f.set(s.t, "download=slow:600000")
	message, id := f.deliver(s, "document", "text/plain", "d", content)
	answer := f.asking(s, message, id)
	s.Kill()
	answer()
	folder := filepath.Join(tokens, "admin.received")
	before, _ := filepath.Glob(filepath.Join(folder, ".draft-*"))
	s = start(s.t, f.p.URL, tokens, receiving...)
	s.wantFile(document, content)
	known := 4 // those of checkKilledWorker and before
	if *thorough {
		known++ // the large one
	}
	for ctx := within(s.t); ; {
		left, err := os.ReadDir(folder)
		if err == nil && len(before) == 1 && len(left) == known && !strings.HasPrefix(left[0].Name(), ".") {
			break
		}
		if harness.Pause(ctx, 50*time.Millisecond) != nil {
			s.t.Fatalf("%v, left are %v; drafts were %v", err, left, before)
		}
	}
	f.set(s.t)
	return s
}
