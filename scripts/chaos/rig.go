package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"session-manager/scripts/command"
	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

// errSkipped means that this machine can't bring a fault about.
var errSkipped = errors.New("skipped")

// rig is the service with everything around it.
type rig struct {
	o       options
	places  places
	address string
	url     string
	sim     *simulator.Server
	web     *http.Server
	service *harness.Service
	// foreign is a Chrome that is not the service's; nil before there is one.
	foreign   *foreign
	listeners []net.Listener
	// args and env are further flags and variables of the service, for the present
	// fault.
	args, env []string
	// group is the control group of the present fault.
	group group
	// rightly is the time, by both clocks, at which the machine's was set ahead.
	rightly time.Time
	// linked says that a phone has scanned the code.
	linked bool
	// hurried says that long backoffs are cut short.
	hurried bool
	// cold is the slowest of the cold starts in the present state.
	cold time.Duration
}

func newRig(ctx context.Context, o options) (*rig, error) {
	p, err := makePlaces(o)
	if err != nil {
		_ = os.RemoveAll(p.root)
		return nil, err
	}
	r := &rig{o: o, places: p}
	if err := r.open(ctx); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// open starts the simulator.
func (r *rig) open(ctx context.Context) (err error) {
	if r.sim, err = simulator.New(simulator.Options{Speed: r.o.speed}); err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("cannot serve the page: %w", err)
	}
	r.url = "http://" + l.Addr().String() + "/"
	r.web = &http.Server{Handler: r.sim, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = r.web.Serve(l) }() // ends with Close
	r.address, err = harness.FreeAddress(ctx)
	return err
}

// close ends everything and removes the folders.
func (r *rig) close() {
	if r.service != nil {
		_ = r.service.Stop()
	}
	if r.foreign != nil {
		r.foreign.kill()
	}
	if r.sim != nil {
		r.sim.Close()
	}
	if r.web != nil {
		_ = r.web.Close()
	}
	if r.o.keep {
		return
	}
	_ = os.RemoveAll(r.places.root)
}

// start starts the service; it returns when the API answers.
func (r *rig) start(ctx context.Context) error {
	s, err := startService(ctx, r.o.supervisor, r.address, r.url, r.places, r.args, r.env)
	if err != nil {
		return err
	}
	r.service = s
	return nil
}

// fresh starts the service anew, with a restart policy that remembers nothing,
// and returns when all is well. between runs while it is stopped; it may be nil.
func (r *rig) fresh(ctx context.Context, between func(context.Context, *rig) error) (time.Duration, error) {
	if r.service != nil {
		if err := r.service.Stop(); err != nil {
			return 0, err
		}
	}
	if err := os.Remove(filepath.Join(r.places.tokens, "admin.restarts")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("cannot reset the restart policy: %w", err)
	}
	if between != nil {
		if err := between(ctx, r); err != nil {
			return 0, err
		}
	}
	return r.coldStart(ctx)
}

// coldStart starts the service, and returns how long it took until all was well.
func (r *rig) coldStart(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	if err := r.start(ctx); err != nil {
		return 0, err
	}
	_, err := r.awaitSettled(ctx)
	return time.Since(begun), err
}

// awaitSettled looks at /session until all is well.
func (r *rig) awaitSettled(ctx context.Context) (view, error) {
	return r.await(ctx, "a good state", func(v view) bool { return v.settled(r.linked) })
}

// await looks at /session until ok.
func (r *rig) await(ctx context.Context, what string, ok func(view) bool) (view, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var last view
	for {
		v, err := viewOf(ctx, r.service)
		if err == nil {
			if ok(v) {
				return v, nil
			}
			last = v
		}
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("%s never came: %s (%s: %s) in phase %s", what, last.Status, last.Reason.Code, last.Reason.Detail, last.Phase.Name)
		case <-tick.C:
		}
	}
}

// link plays the phone.
func (r *rig) link(ctx context.Context) error {
	if _, err := r.sim.Shown(ctx); err != nil {
		return err
	}
	if err := r.sim.Scan(ctx); err != nil {
		return err
	}
	r.linked = true
	_, err := r.awaitSettled(ctx)
	return err
}

// suspend stops the service and all of t for d, as a machine that sleeps does.
func (r *rig) suspend(ctx context.Context, t target, d time.Duration) error {
	pids := append(t.tree.pids(), r.service.PID())
	if err := signalAll(pids, syscall.SIGSTOP); err != nil {
		return err
	}
	_ = command.Pause(ctx, d) // whatever ends it, they go on
	return signalAll(pids, syscall.SIGCONT)
}

// limitFiles lets the service open no more than spare files from now on.
func (r *rig) limitFiles(spare int) error {
	open, err := harness.OpenFiles(r.service.PID())
	if err != nil {
		return err
	}
	var old unix.Rlimit
	if err := unix.Prlimit(r.service.PID(), unix.RLIMIT_NOFILE, nil, &old); err != nil {
		return fmt.Errorf("cannot read the limit of files: %w", err)
	}
	limit := unix.Rlimit{Cur: min(uint64(open+spare), old.Max), Max: old.Max}
	if err := unix.Prlimit(r.service.PID(), unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		return fmt.Errorf("cannot limit files: %w", err)
	}
	return nil
}

// replaceWorker puts a new worker in the old one's place, as an installer does.
// change may be nil.
func (r *rig) replaceWorker(change func([]byte) []byte) error {
	content, err := os.ReadFile(r.o.worker)
	if err != nil {
		return fmt.Errorf("cannot read the worker's binary: %w", err)
	}
	if change != nil {
		content = change(content)
	}
	next := r.places.worker + ".new"
	if err := os.WriteFile(next, content, 0o700); err != nil { //nolint:gosec // a program must be executable
		return fmt.Errorf("cannot write the worker's binary: %w", err)
	}
	return os.Rename(next, r.places.worker)
}

// provenAfter is when the service believes in a worker's binary, and a little
// more.
const provenAfter = 63 * time.Second

// leftovers names what should not be there any more. old are the processes from
// before the fault, v is the present.
func (r *rig) leftovers(old tree, v view) []string {
	const settling = 3 * time.Second
	now, err := below(r.service.PID())
	if err != nil {
		return []string{err.Error()}
	}
	defer now.close()
	alive := map[int]bool{}
	for _, p := range now {
		alive[p.pid] = true
	}
	if v.Browser != nil && old.has(v.Browser.PID) {
		// The same Chrome lives: its helpers may be the same, too.
		return r.leftFiles(v)
	}
	for pid := range alive {
		if old.has(pid) {
			delete(alive, pid) // it should be gone
		}
	}
	return append(old.left(settling, alive), r.leftFiles(v)...)
}

func (r *rig) leftFiles(v view) []string {
	var found []string
	current := fmt.Sprintf("g%d", v.Worker.Generation)
	for _, e := range list(r.places.runtime) {
		if e != current {
			found = append(found, "run/"+e)
		}
	}
	for _, e := range list(r.places.tmp) {
		found = append(found, "tmp/"+e)
	}
	for _, e := range list(r.places.profile()) {
		if strings.HasPrefix(e, "SingletonLock.") {
			found = append(found, "admin/"+e)
		}
	}
	lock, err := os.Readlink(filepath.Join(r.places.profile(), "SingletonLock"))
	if v.Browser != nil && (err != nil || !strings.HasSuffix(lock, fmt.Sprintf("-%d", v.Browser.PID))) {
		found = append(found, "lock of "+lock)
	}
	return found
}

func list(folder string) []string {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// atTheEnd stops the service and names what is left of it.
func (r *rig) atTheEnd() []string {
	all, err := below(r.service.PID())
	if err != nil {
		return []string{err.Error()}
	}
	defer all.close()
	var found []string
	if err := r.service.Stop(); err != nil {
		found = append(found, err.Error())
	}
	r.service = nil
	found = append(found, all.left(time.Second, nil)...)
	if _, err := os.Lstat(filepath.Join(r.places.profile(), "SingletonLock")); err == nil {
		found = append(found, "Chrome's lock")
	}
	return append(found, r.leftFiles(view{})...)
}
