package harness

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// patience bounds a stop, a request, and a process that cannot listen.
	patience = 60 * time.Second
	// pollEvery is the pause between two looks at what has no event to wait for.
	pollEvery = 50 * time.Millisecond
)

// Options of a Service.
type Options struct {
	// Supervisor is the binary.
	Supervisor string
	// Folder holds the tokens, the log, the runtime folder and a folder for temporary
	// files. Its path must be short, as sockets are made below it.
	Folder string
	// Tokens and Log are in Folder when they are empty.
	Tokens, Log string
	// Listen is the address of the API; a free port of the loopback when it is empty.
	Listen string
	// URL is the page to open.
	URL string
	// Args are further flags, and Env further variables.
	Args, Env []string
	// Stderr is standard error instead of the log. AwaitListening needs somebody who
	// copies what is written there to the log; without, Listen must have a port.
	Stderr *os.File
}

// Service is a supervisor's process. Its methods are safe for concurrent use.
type Service struct {
	*Child
	// Base is the URL of the API, once it listens.
	Base string
	// StartedAt is just before the exec.
	StartedAt time.Time
	// Tokens is the folder of the login.
	Tokens string

	log     string
	logFrom int64 // where the log of this process begins
	client  *http.Client
}

// Start starts a supervisor and returns when it answers. End it with Stop or Kill.
func Start(ctx context.Context, o Options) (*Service, error) {
	s, err := Launch(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := s.AwaitListening(ctx); err != nil {
		s.Kill()
		return nil, err
	}
	return s, nil
}

// Launch starts a supervisor and returns at once.
func Launch(ctx context.Context, o Options) (*Service, error) {
	runtime, tmp := filepath.Join(o.Folder, "run"), filepath.Join(o.Folder, "tmp")
	for _, folder := range []string{runtime, tmp} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, fmt.Errorf("cannot make folder: %w", err)
		}
	}
	s := &Service{
		Tokens: cmp.Or(o.Tokens, filepath.Join(o.Folder, "tokens")), log: cmp.Or(o.Log, filepath.Join(o.Folder, "log")),
		client: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 4}},
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open log: %w", err)
	}
	defer func() { _ = log.Close() }()
	if s.logFrom, err = log.Seek(0, io.SeekEnd); err != nil {
		return nil, fmt.Errorf("cannot open log: %w", err)
	}
	// A backup would end the worker once if this runs between four and five in the morning.
	args := append([]string{"--listen", cmp.Or(o.Listen, "127.0.0.1:0"), "--tokens", s.Tokens, "--backup-hour", "off"}, o.Args...)
	if o.URL != "" {
		args = append(args, "--url", o.URL)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), o.Supervisor, args...) // Stop and Kill are its kill path
	cmd.Env = append(append(os.Environ(), "RUNTIME_DIRECTORY="+runtime, "TMPDIR="+tmp), o.Env...)
	cmd.Stderr = log
	if o.Stderr != nil {
		cmd.Stderr, s.Base = o.Stderr, "http://"+o.Listen
	}
	s.StartedAt = time.Now()
	s.Child, err = Spawn(cmd)
	return s, err
}

// AwaitListening waits until the log has the address of the API, and sets Base.
func (s *Service) AwaitListening(ctx context.Context) error {
	for {
		for line := range strings.Lines(s.Log()) {
			var entry struct{ Msg, Address string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "service_started" {
				s.Base = "http://" + reachable(entry.Address)
				return nil
			}
		}
		if s.HasExited(0) {
			return fmt.Errorf("the service exited at once: %s", s.cmd.ProcessState)
		}
		if err := Pause(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// reachable replaces the address of all interfaces by the loopback's.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || !net.ParseIP(host).IsUnspecified() {
		return address
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// Log returns what this process has logged so far.
func (s *Service) Log() string {
	f, err := os.Open(s.log)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.NewSectionReader(f, s.logFrom, math.MaxInt64-s.logFrom))
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// Stop ends the service cleanly. A stop that takes too long ends by force and is an
// error, as is an exit code other than 0.
func (s *Service) Stop() error {
	defer s.client.CloseIdleConnections()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	if !s.HasExited(patience) {
		s.Kill()
		return fmt.Errorf("the service did not stop within %s", patience)
	}
	if code := s.ExitCode(); code != 0 {
		return fmt.Errorf("the service exited with %s", s.cmd.ProcessState)
	}
	return nil
}

// Kill ends the service as kill -9 does, and waits for its end.
func (s *Service) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
	s.client.CloseIdleConnections()
}

// Answer is what the API returned.
type Answer struct {
	Code int
	Body string
}

// Ask sends a request and returns the answer, also a bad one. A body is JSON.
func (s *Service) Ask(ctx context.Context, method, path, body string) (Answer, error) {
	var content strings.Builder
	code, err := exchange(ctx, s.client, method, s.Base+path, body, &content)
	return Answer{code, content.String()}, err
}

// exchange sends a request, copies the body of the answer, and returns its code.
func exchange(ctx context.Context, client *http.Client, method, url, body string, answer io.Writer) (code int, err error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("cannot ask the service: %w", err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, fmt.Errorf("cannot ask the service: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(answer, resp.Body); err != nil {
		return 0, fmt.Errorf("cannot read the service's answer: %w", err)
	}
	return resp.StatusCode, nil
}

func (s *Service) mustAsk(ctx context.Context, method, path string) (string, error) {
	a, err := s.Ask(ctx, method, path, "")
	if err == nil && a.Code >= http.StatusMultipleChoices {
		err = fmt.Errorf("the service answers %d to %s %s: %s", a.Code, method, path, strings.TrimSpace(a.Body))
	}
	return a.Body, err
}

// Get returns the body of a good answer.
func (s *Service) Get(ctx context.Context, path string) (string, error) {
	return s.mustAsk(ctx, http.MethodGet, path)
}

// Restart asks for a clean restart, which also cuts a backoff short.
func (s *Service) Restart(ctx context.Context) error {
	_, err := s.mustAsk(ctx, http.MethodPost, "/session/restart")
	return err
}

// NextQR waits until /qr serves an image whose body differs from last, and returns
// the body and the image.
func (s *Service) NextQR(ctx context.Context, last string) (body string, png []byte, err error) {
	for path := "/qr"; ; path = "/qr?wait=5s" {
		body, err := s.Get(ctx, path)
		if err != nil {
			return "", nil, err
		}
		png, err := PNG(body)
		if err != nil || png != nil && body != last {
			return body, png, err
		}
	}
}

// AwaitStatus waits until /status reports want.
func (s *Service) AwaitStatus(ctx context.Context, want string) error {
	for path := "/status"; ; path = "/status?wait=5s" {
		body, err := s.Get(ctx, path)
		if err != nil || body == `{"status":"`+want+`"}` {
			return err
		}
	}
}

// Session returns what GET /session reports.
func (s *Service) Session(ctx context.Context) (Session, error) {
	var v Session
	body, err := s.Get(ctx, "/session")
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		return v, fmt.Errorf("cannot read /session: %w", err)
	}
	return v, nil
}

// Await looks at /session, which has no long poll, until ok; the longer it waits, the less
// often, as many services are looked at side by side. Meanwhile the service may be away. The
// error names what never came.
func (s *Service) Await(ctx context.Context, what string, ok func(Session) bool) (Session, error) {
	var last Session
	for began := time.Now(); ; {
		v, err := s.Session(ctx)
		if err == nil {
			if ok(v) {
				return v, nil
			}
			last = v
		}
		if Pause(ctx, min(max(2*pollEvery, time.Since(began)/20), 10*pollEvery)) != nil {
			return last, errors.Join(fmt.Errorf("%s never came: %s", what, last), ctx.Err())
		}
	}
}

// Prober asks /status and /qr again and again, each over a connection of its own, as
// impatient users would.
type Prober struct {
	stop  context.CancelFunc
	loops sync.WaitGroup

	mu    sync.Mutex
	tally Tally // guarded by mu
}

// Tally counts the requests of a while.
type Tally struct {
	Asked   int           `json:"asked"`
	Failed  int           `json:"failed"`
	Longest time.Duration `json:"longest"`
	// First is the error of the first failed request.
	First string `json:"first_failure,omitempty"`
}

// Probe begins to ask the service at base, with a pause between an answer and the
// next request, until Close is called.
func Probe(base string, pause time.Duration) *Prober {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Prober{stop: cancel}
	for _, path := range []string{"/status", "/qr"} {
		p.loops.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				asked := time.Now()
				err := Fetch(ctx, client, base+path)
				if ctx.Err() != nil {
					return // it was cut off by us
				}
				p.record(time.Since(asked), err)
				_ = Pause(ctx, pause) // its error ends the loop
			}
		})
	}
	return p
}

// Fetch reads and drops a good answer.
func Fetch(ctx context.Context, client *http.Client, url string) error {
	code, err := exchange(ctx, client, http.MethodGet, url, "", io.Discard)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("the answer is %d", code)
	}
	return err
}

func (p *Prober) record(took time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tally.Asked++
	p.tally.Longest = max(p.tally.Longest, took)
	if err == nil {
		return
	}
	p.tally.Failed++
	if p.tally.First == "" {
		p.tally.First = err.Error()
	}
}

// Tally returns what was counted so far.
func (p *Prober) Tally() Tally {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tally
}

// Close ends the asking.
func (p *Prober) Close() {
	p.stop()
	p.loops.Wait()
}
