// Package e2e tests the two built binaries with a real Chrome against the
// simulator, by HTTP and signals alone.
package e2e

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
	"session-manager/shared/chrome"
	"session-manager/shared/chrome/chrometest"
)

// binaries are built once, by TestMain, with the race detector if the tests have it.
var binaries harness.Binaries

func TestMain(m *testing.M) {
	harness.DefaultSignals()
	harness.ExitAtOnce()
	err := flag.Set("test.parallel", "4") // most of a test is waiting
	if err != nil {
		panic(err)
	}
	if binaries, err = harness.Build(context.Background(), raceEnabled); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// thorough is for a machine that has time: the packages below are tested with every variant.
var thorough = flag.Bool("thorough", false, "test with every variant")

// variants are all of them if the test is thorough, and otherwise the first few.
func variants[T any](all []T, few int) []T {
	if *thorough {
		return all
	}
	return all[:few]
}

// patience bounds every wait. It only matters when something is broken.
const patience = 2 * time.Minute

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// needBrowser skips the test where no browser is installed.
func needBrowser(t *testing.T) {
	t.Helper()
	if _, err := chrome.Find(""); err != nil {
		t.Skip(err)
	}
}

// light are the flags for the engine that costs least, for tests of what does not depend on it.
var light = func() []string {
	if path := chrometest.Light(); path != "" {
		return []string{"--chrome", path}
	}
	return nil
}()

// phone is a simulator behind a real address.
type phone struct{ *harness.Phone }

func newPhone(t *testing.T, o simulator.Options) *phone {
	t.Helper()
	if o.Speed == 0 {
		o.Speed = 10
	}
	p, err := harness.NewPhone(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return &phone{p}
}

// scan scans what the page shows.
func (p *phone) scan(t *testing.T) {
	t.Helper()
	if err := p.Scan(within(t)); err != nil {
		t.Fatal(err)
	}
}

// service is a running supervisor.
type service struct {
	*harness.Service
	t *testing.T
	// lastQR is the body that awaitNewQR saw last.
	lastQR string
}

// start runs the supervisor on tokens and waits until it listens.
func start(t *testing.T, url, tokens string, args ...string) *service {
	t.Helper()
	s := launch(t, tokens, append([]string{"--url", url}, args...)...)
	s.awaitListening()
	return s
}

func launch(t *testing.T, tokens string, args ...string) *service {
	t.Helper()
	return launchWith(t, harness.Options{Tokens: tokens, Args: args})
}

// shortDir makes a folder whose path is short, as sockets are made below it.
func shortDir(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("/tmp", "e2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	return folder
}

// launchWith adds to the options what every test wants.
func launchWith(t *testing.T, o harness.Options) *service {
	t.Helper()
	if o.Folder == "" {
		o.Folder = shortDir(t)
	}
	o.Supervisor = cmp.Or(o.Supervisor, binaries.Supervisor)
	o.Args = append([]string{"--log-level", "debug"}, o.Args...)
	running, err := harness.Launch(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{Service: running, t: t}
	t.Cleanup(func() {
		s.signal(syscall.SIGTERM)
		select {
		case <-s.Exited():
		case <-time.After(patience):
			t.Error("the supervisor did not stop")
		}
		s.Kill() // unless it has exited
		if t.Failed() {
			t.Logf("log of the supervisor:\n%s", s.Log())
		}
	})
	return s
}

func (s *service) signal(sig syscall.Signal) { _ = s.Signal(sig) }

func (s *service) awaitListening() {
	s.t.Helper()
	if err := s.AwaitListening(within(s.t)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) get(path string) harness.Answer {
	s.t.Helper()
	return s.ask(http.MethodGet, path, "")
}

// command sends a POST without a body.
func (s *service) command(path string) harness.Answer {
	s.t.Helper()
	return s.ask(http.MethodPost, path, "")
}

func (s *service) ask(method, path, body string) harness.Answer {
	s.t.Helper()
	a, err := s.Ask(within(s.t), method, path, body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// wantAnswer sends a POST, and wants this code and a body that contains part.
func (s *service) wantAnswer(path, body string, code int, part string) {
	s.t.Helper()
	if a := s.ask(http.MethodPost, path, body); a.Code != code || !strings.Contains(a.Body, part) {
		s.t.Errorf("POST %s: %d %s", path, a.Code, a.Body)
	}
}

func (s *service) status() string {
	s.t.Helper()
	return s.get("/status").Body
}

// await waits for a state by the API's own long poll.
func (s *service) await(state string) {
	s.t.Helper()
	if err := s.AwaitStatus(within(s.t), state); err != nil {
		s.t.Fatalf("waiting for %s: %v (session %s)", state, err, s.describe())
	}
}

func (s *service) describe() string {
	body, err := s.Get(context.Background(), "/session")
	return errors.Join(errors.New(body), err).Error()
}

func (s *service) session() harness.Session {
	s.t.Helper()
	v, err := s.Session(within(s.t))
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

// awaitSession polls /session, which has no long poll, until ok.
func (s *service) awaitSession(what string, ok func(harness.Session) bool) harness.Session {
	s.t.Helper()
	v, err := s.Await(within(s.t), what, ok)
	if err != nil {
		s.t.Fatalf("%v; session: %s", err, s.describe())
	}
	return v
}

// stop ends the supervisor as systemd would, and returns its exit code.
func (s *service) stop() int {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	return s.exitCode()
}

func (s *service) exitCode() int {
	s.t.Helper()
	select {
	case <-s.Exited():
		return s.ExitCode()
	case <-within(s.t).Done():
		s.t.Fatal("the supervisor did not exit")
		return -1
	}
}

// qr returns the image of /qr, and false for NO_QR.
func (s *service) qr() ([]byte, bool) {
	s.t.Helper()
	png, err := harness.PNG(s.get("/qr").Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return png, png != nil
}

// awaitQR waits until /qr serves an image, and returns its payload.
func (s *service) awaitQR() string {
	s.t.Helper()
	_, png := s.nextQR("")
	return decode(s.t, png)
}

// awaitNewQR waits until /qr serves another image than at the last call, and
// returns its payload.
func (s *service) awaitNewQR() string {
	s.t.Helper()
	var png []byte
	s.lastQR, png = s.nextQR(s.lastQR)
	return scan(s.t, png)
}

// showsScreen wants /qr to serve the code that is on the screen. The page renews it at any moment, and its report
// and the service's take different ways.
func (s *service) showsScreen(p *phone) {
	s.t.Helper()
	for ctx := within(s.t); s.awaitQR() != p.OnScreen().Payload; {
		if harness.Pause(ctx, 50*time.Millisecond) != nil {
			s.t.Fatalf("/qr decodes to another string than the one on the screen; session: %s", s.describe())
		}
	}
}

// linksWithServed scans what /qr serves, and what follows where the page has renewed it meanwhile. It wants each code
// to have another secret than a former one.
func (s *service) linksWithServed(p *phone, former string) {
	s.t.Helper()
	secret := func(payload string) string { return strings.Split(payload, ",")[3] }
	var err error
	for range 3 {
		fresh := s.awaitNewQR()
		if secret(fresh) == secret(former) {
			s.t.Error("a dead code is served")
		}
		if err = p.ScanPayload(within(s.t), fresh); err == nil {
			s.await("READY")
			return
		}
	}
	s.t.Fatalf("the phone can't link with the code that follows: %v", err)
}

func (s *service) nextQR(last string) (body string, png []byte) {
	s.t.Helper()
	body, png, err := s.NextQR(within(s.t), last)
	if err != nil {
		s.t.Fatalf("waiting for a QR: %v; session: %s", err, s.describe())
	}
	return body, png
}

// decode reads a QR with zbar, a decoder that shares nothing with ours.
func decode(t *testing.T, png []byte) string {
	t.Helper()
	zbarimg, err := exec.LookPath("zbarimg")
	if err != nil {
		t.Skip("zbarimg is missing: apt-get install zbar-tools")
	}
	file := filepath.Join(t.TempDir(), "qr.png")
	if err := os.WriteFile(file, png, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), zbarimg, "--quiet", "--raw", file).Output()
	if err != nil {
		t.Fatalf("zbarimg: %v", err)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// scan decodes an image within this process.
func scan(t *testing.T, png []byte) string {
	payload, err := harness.Decode(png)
	if err != nil {
		t.Errorf("an image that can't be scanned: %v", err)
	}
	return payload
}

// prober asks /status and /qr again and again; make chaos does so without pause.
type prober struct{ *harness.Prober }

func probe(s *service) prober {
	p := prober{harness.Probe(s.Base, 50*time.Millisecond)}
	s.t.Cleanup(p.Close)
	return p
}

// check stops the asking; no request may have failed.
func (p prober) check(t *testing.T) {
	t.Helper()
	p.Close()
	if all := p.Tally(); all.Failed > 0 || all.Asked == 0 {
		t.Errorf("%d of %d requests failed, first with %s", all.Failed, all.Asked, all.First)
	}
}
