package profile

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"session-manager/shared/proctree"
	"session-manager/shared/reason"
)

// otherHost is not the name of this machine.
const otherHost = "another-host.example"

func host(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// setLock makes a lock of the given age.
func setLock(t *testing.T, p *Profile, target string, age time.Duration) {
	t.Helper()
	path := filepath.Join(p.Dir(), lockFile)
	symlink(t, target, path)
	when := unix.NsecToTimespec(time.Now().Add(-age).UnixNano())
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		t.Fatal(err)
	}
}

func deadPID(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.Pid()
}

func names(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestStaleLockIsRemoved(t *testing.T) {
	here := host(t)
	tests := map[string]struct {
		target func(t *testing.T) string
		age    time.Duration
		want   LockState
	}{
		"dead pid":            {func(t *testing.T) string { return fmt.Sprintf("%s-%d", here, deadPID(t)) }, 0, StaleDead},
		"other host":          {func(*testing.T) string { return otherHost + "-4242424" }, 0, StaleOtherHost},
		"other host, our pid": {func(*testing.T) string { return fmt.Sprintf("%s-%d", otherHost, os.Getpid()) }, 0, StaleOtherHost},
		"before boot":         {func(*testing.T) string { return here + "-1" }, 20 * 365 * 24 * time.Hour, StaleDead},
		"pid of a plain process that is older": {func(*testing.T) string {
			return fmt.Sprintf("%s-%d", here, os.Getpid())
		}, 0, StaleDead},
		"pid of a plain process that is younger": {func(t *testing.T) string {
			return fmt.Sprintf("%s-%d", here, play(t, "sh", "chrome", ""))
		}, 10 * time.Second, StaleDead},
		"pid of another Chrome that is younger": {func(t *testing.T) string {
			return fmt.Sprintf("%s-%d", here, play(t, "chrome", "chrome", "", "--user-data-dir="+t.TempDir()))
		}, 10 * time.Second, StaleDead},
		"pid of another Chrome that is older": {func(t *testing.T) string {
			return fmt.Sprintf("%s-%d", here, play(t, "chrome", "chrome", "", "--user-data-dir="+t.TempDir()))
		}, 0, StaleDead},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := open(t)
			setLock(t, p, tt.target(t), tt.age)
			symlink(t, "/no/where/SingletonSocket", filepath.Join(p.Dir(), socketFile))
			symlink(t, "12345", filepath.Join(p.Dir(), "SingletonCookie"))
			got, err := p.ChromeLock.Clean()
			if err != nil || got != tt.want {
				t.Fatalf("Clean() = %q, %v; want %q", got, err, tt.want)
			}
			if left := names(t, p.Dir()); fmt.Sprint(left) != "[SingletonCookie SingletonSocket]" {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestLockThatMayBeInUseStays(t *testing.T) {
	here := host(t)
	tests := map[string]struct {
		target  func(t *testing.T, p *Profile) string
		message string
	}{
		"an older Chrome without a known profile": {func(t *testing.T, _ *Profile) string {
			return fmt.Sprintf("%s-%d", here, play(t, "chromium", "chrome", ""))
		}, "did not start"},
		"a Chrome on this profile": {func(t *testing.T, p *Profile) string {
			return fmt.Sprintf("%s-%d", here, play(t, "chrome", "chrome", "", "--user-data-dir="+p.Dir()))
		}, "uses the profile"},
		"other host, a Chrome has that pid here": {func(t *testing.T, _ *Profile) string {
			return fmt.Sprintf("%s-%d", otherHost, play(t, "chrome", "chrome", ""))
		}, "another machine"},
		"other host, but the socket answers": {func(t *testing.T, p *Profile) string {
			listen(t, p)
			return otherHost + "-4242424"
		}, fmt.Sprintf("pid %d", os.Getpid())},
		"own lock, but the socket answers": {func(t *testing.T, p *Profile) string {
			listen(t, p)
			target := fmt.Sprintf("%s-%d", here, deadPID(t))
			if err := p.ChromeLock.launch().Save(target); err != nil {
				t.Fatal(err)
			}
			return target
		}, "socket"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := open(t)
			target := tt.target(t, p)
			setLock(t, p, target, 0)
			before := names(t, p.Dir())
			_, err := p.ChromeLock.Clean()
			wantReason(t, err, reason.ProfileInUse)
			if err != nil && !strings.Contains(err.Error(), tt.message) {
				t.Errorf("error %q does not contain %q", err, tt.message)
			}
			if after := names(t, p.Dir()); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("before %v, after %v", before, after)
			}
			if got, err := os.Readlink(filepath.Join(p.Dir(), lockFile)); got != target || err != nil {
				t.Errorf("lock is %q, %v", got, err)
			}
		})
	}
}

// listen makes a socket as Chrome's is: a link to one in a folder elsewhere.
func listen(t *testing.T, p *Profile) {
	t.Helper()
	// The path of a socket has at most 107 bytes.
	dir, err := os.MkdirTemp("/tmp", "sock-*")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	symlink(t, path, filepath.Join(p.Dir(), socketFile))
}

func TestAnsweringSocketMeansInUseWithoutALock(t *testing.T) {
	p := open(t)
	listen(t, p)
	_, err := p.ChromeLock.Clean()
	wantReason(t, err, reason.ProfileInUse)
}

// The service's Chrome was killed under another user, who still has the folder of its
// socket.
func TestOwnLockIsStaleWithAHiddenSocket(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	p := open(t)
	listen(t, p)
	socket, err := os.Readlink(filepath.Join(p.Dir(), socketFile))
	must(t, err)
	must(t, os.Chmod(filepath.Dir(socket), 0o700))
	must(t, os.Chmod(filepath.Dir(filepath.Dir(string(p.tokens))), 0o711))
	const nobody = 65534
	for _, path := range []string{string(p.tokens), p.Dir()} {
		must(t, os.Chown(path, nobody, nobody))
	}
	asNobody := func(do func()) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer func() { must(t, unix.Setfsuid(0)) }()
		must(t, unix.Setfsuid(nobody))
		do()
	}
	asNobody(func() {
		if _, err := os.ReadDir(p.Dir()); err != nil {
			t.Skip("another user can't reach $TMPDIR")
		}
	})
	clean := func() (state LockState, err error) {
		asNobody(func() { state, err = p.ChromeLock.Clean() })
		return state, err
	}
	if got, err := clean(); got != NoLock || err != nil {
		t.Errorf("without a lock: %q, %v", got, err)
	}
	pid := deadPID(t)
	setLock(t, p, fmt.Sprintf("%s-%d", host(t), pid), 0)
	if _, err := clean(); reason.Of(err, "") != reason.ProfileInUse {
		t.Errorf("a foreign lock: %v", err)
	}
	must(t, p.ChromeLock.Record(pid))
	must(t, os.Chown(p.tokens.path("launch"), nobody, nobody))
	if got, err := clean(); got != StaleOwn || err != nil {
		t.Errorf("our lock: %q, %v", got, err)
	}
}

func TestUnparsableLockIsLeftToChrome(t *testing.T) {
	for _, target := range []string{"nodash", "-", "vm-", "vm-abc"} {
		p := open(t)
		setLock(t, p, target, 0)
		if got, err := p.ChromeLock.Clean(); got != Unparsable || err != nil {
			t.Errorf("%q: Clean() = %q, %v", target, got, err)
		}
		if len(names(t, p.Dir())) != 1 {
			t.Errorf("%q was touched", target)
		}
	}
}

func TestLockWithoutALinkIsMovedAside(t *testing.T) {
	for name, put := range map[string]func(t *testing.T, path string){"file": write, "folder": mkdir} {
		t.Run(name, func(t *testing.T) {
			p := open(t)
			put(t, filepath.Join(p.Dir(), lockFile))
			if got, err := p.ChromeLock.Clean(); got != NotALink || err != nil {
				t.Fatalf("Clean() = %q, %v", got, err)
			}
			left := names(t, p.Dir())
			if len(left) != 1 || !strings.HasPrefix(left[0], lockFile+".quarantine.") {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestLockMadeMeanwhileIsPutBack(t *testing.T) {
	p := open(t)
	setLock(t, p, "new-1", 0)
	err := removeUnchanged(p.ChromeLock.path(), "old-1")
	wantReason(t, err, reason.ProfileInUse)
	if !errors.Is(err, errChanged) {
		t.Errorf("removeUnchanged() = %v", err)
	}
	if got, err := os.Readlink(filepath.Join(p.Dir(), lockFile)); got != "new-1" || err != nil {
		t.Errorf("lock is %q, %v", got, err)
	}
	if left := names(t, p.Dir()); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

func TestLockRemovedMeanwhileIsNotAnError(t *testing.T) {
	if err := removeUnchanged(filepath.Join(t.TempDir(), lockFile), "old-1"); err != nil {
		t.Error(err)
	}
}

// race is the outcome of two cleaners and two Chromes that meet at one stale lock. A
// Chrome has won when it has made the lock.
type race struct {
	won    [2]bool
	states [2]LockState
	errs   [2]error
}

func runRace(t *testing.T, p *Profile, chromes [2]string) (r race) {
	t.Helper()
	lock := filepath.Join(p.Dir(), lockFile)
	symlink(t, otherHost+"-4242424", lock)
	var all sync.WaitGroup
	for i, chrome := range chromes {
		all.Go(func() {
			for range 100 {
				if os.Symlink(chrome, lock) == nil {
					r.won[i] = true
					return
				}
				runtime.Gosched()
			}
		})
		all.Go(func() { r.states[i], r.errs[i] = p.ChromeLock.Clean() })
	}
	all.Wait()
	return r
}

// conflict reports whether a cleaner has noticed that the lock changed.
func (r race) conflict() bool {
	return errors.Is(r.errs[0], errChanged) || errors.Is(r.errs[1], errChanged)
}

// check fails unless the lock is that of the winner.
func (r race) check(t *testing.T, lock string, chromes [2]string) {
	t.Helper()
	switch held, err := os.Readlink(lock); {
	case r.won[0] && r.won[1]:
		if !r.conflict() {
			t.Fatalf("two Chromes have won, and there is no error: %+v", r)
		}
	case !r.won[0] && !r.won[1]:
		if !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("no Chrome has won, and the lock is %q, %v: %+v", held, err, r)
		}
	case r.won[0] && held != chromes[0] || r.won[1] && held != chromes[1]:
		t.Fatalf("the winner's lock is gone: %q, %v: %+v", held, err, r)
	}
}

var thorough = flag.Bool("thorough", false, "race for the lock longer, and kill the mover of a profile before each of its changes on disk, in more places")

// Outside of tests the supervisor's lock prevents a second cleaner.
func TestRaceForTheLockHasOneWinner(t *testing.T) {
	rounds := map[bool]int{false: 1000, true: 10_000}[*thorough]
	p := open(t)
	lock := filepath.Join(p.Dir(), lockFile)
	var chromes [2]string
	for i := range chromes {
		chromes[i] = fmt.Sprintf("%s-%d", host(t), play(t, "chrome", "chrome", "", "--user-data-dir="+p.Dir()))
	}
	var removed, met, conflicts int
	for range rounds {
		r := runRace(t, p, chromes)
		r.check(t, lock, chromes)
		if r.won[0] != r.won[1] {
			met++
		}
		if r.won[0] && r.won[1] {
			conflicts++
		}
		if slices.Contains(r.states[:], StaleOtherHost) {
			removed++
		}
		remove(t, lock)
		aside, err := filepath.Glob(lock + ".*")
		if err != nil || len(aside) > 0 && !r.conflict() {
			t.Fatalf("left: %v, %v: %+v", aside, err, r)
		}
		for _, left := range aside {
			remove(t, left)
		}
	}
	t.Logf("%d rounds: the stale lock was removed in %d, one Chrome won in %d, a conflict was found in %d", rounds, removed, met, conflicts)
	if removed != rounds || met == 0 {
		t.Errorf("the stale lock was removed in %d of %d rounds, and one Chrome won in %d", removed, rounds, met)
	}
}

func TestOwnLockIsRecognisedOnARenamedHost(t *testing.T) {
	p := open(t)
	pid := play(t, "chrome", "chrome", "")
	target := fmt.Sprintf("%s-%d", otherHost, pid)
	setLock(t, p, target, 0)
	if err := p.ChromeLock.Record(pid); err != nil {
		t.Fatal(err)
	}
	if _, err := p.ChromeLock.Clean(); reason.Of(err, "") != reason.ProfileInUse {
		t.Fatalf("Clean() while it lives = %v", err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, func() bool { return lookAt(pid, p.Dir()) == (process{}) })
	if got, err := p.ChromeLock.Clean(); got != StaleOwn || err != nil {
		t.Errorf("Clean() = %q, %v", got, err)
	}
}

func TestRecordRefusesAChromeOnAnotherProfile(t *testing.T) {
	p := open(t)
	wantReason(t, p.ChromeLock.Record(os.Getpid()), reason.ProfileInUse)
	setLock(t, p, host(t)+"-1", 0)
	wantReason(t, p.ChromeLock.Record(os.Getpid()), reason.ProfileInUse)
}

func TestUnreadableRecordIsIgnored(t *testing.T) {
	p := open(t)
	if err := os.WriteFile(p.tokens.path("launch"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	setLock(t, p, otherHost+"-4242424", 0)
	if got, err := p.ChromeLock.Clean(); got != StaleOtherHost || err != nil {
		t.Errorf("Clean() = %q, %v", got, err)
	}
}

// startChrome runs a real Chrome on the profile and returns when it has locked it.
// stop closes it, as a worker that ends does.
func startChrome(t *testing.T, p *Profile) (pid int, stop func()) {
	t.Helper()
	binary := "/usr/lib/chromium/chromium" // Not the wrapper, whose child it would be.
	if _, err := os.Stat(binary); err != nil {
		if binary, err = exec.LookPath("google-chrome-stable"); err != nil {
			t.Skip("needs chromium (apt-get install chromium) or google-chrome-stable")
		}
	}
	watcher, err := fsnotify.NewWatcher()
	must(t, err)
	defer func() { _ = watcher.Close() }()
	must(t, watcher.Add(p.Dir()))
	pid, stop = launch(t, p, binary)
	awaitLock(t, p, watcher, pid)
	return pid, stop
}

// launch starts the browser on the profile. stop closes it, as a worker that ends does.
func launch(t *testing.T, p *Profile, binary string) (pid int, stop func()) {
	t.Helper()
	toChrome, commands, err := os.Pipe()
	must(t, err)
	answers, fromChrome, err := os.Pipe()
	must(t, err)
	// Chrome makes its socket there, and the path of a socket has at most 107 bytes.
	scratch, err := os.MkdirTemp("/tmp", "chrome-*")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(scratch) })
	cmd := exec.Command(binary, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--remote-debugging-pipe", "--user-data-dir="+p.Dir(), "about:blank")
	cmd.Env = []string{"HOME=" + scratch, "TMPDIR=" + scratch, "PATH=/usr/bin:/bin"}
	cmd.ExtraFiles = []*os.File{toChrome, fromChrome}
	must(t, cmd.Start())
	_, _ = toChrome.Close(), fromChrome.Close()
	stop = func() {
		_ = commands.Close()
		_ = answers.Close()
		_ = cmd.Wait()
		// Its helpers still write for a moment, and the folder is about to go.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if proctree.Below(nil).Wait(ctx) != nil {
			_ = proctree.Below(nil).Kill(context.Background())
		}
	}
	t.Cleanup(stop)
	return cmd.Process.Pid, stop
}

func TestHeadlessShellWithoutALockIsInUse(t *testing.T) {
	const binary = "/usr/lib/chromium/chromium-headless-shell"
	if _, err := os.Stat(binary); err != nil {
		t.Skip("needs chromium-headless-shell (apt-get install chromium-headless-shell)")
	}
	p := open(t)
	pid, stop := launch(t, p, binary)
	waitUntil(t, func() bool { return checkStorage(p.Dir()) != nil })
	_, err := p.ChromeLock.Clean()
	if reason.Of(err, "") != reason.ProfileInUse || !strings.Contains(err.Error(), strconv.Itoa(pid)) {
		t.Errorf("got %v, want that pid %d uses the profile", err, pid)
	}
	stop()
	if state, err := p.ChromeLock.Clean(); state != NoLock || err != nil {
		t.Errorf("when it had ended: got %q, %v", state, err)
	}
}

// awaitLock returns when the Chrome with this pid has made its lock and its socket.
func awaitLock(t *testing.T, p *Profile, watcher *fsnotify.Watcher, pid int) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		target, _ := os.Readlink(filepath.Join(p.Dir(), lockFile))
		if name, ok := parseLock(target); ok && name.pid == pid {
			if _, err := os.Lstat(filepath.Join(p.Dir(), socketFile)); err == nil {
				return
			}
		}
		select {
		case <-watcher.Events:
		case err := <-watcher.Errors:
			t.Fatal(err)
		case <-timeout:
			t.Fatal("Chrome did not lock the profile")
		}
	}
}

func TestForeignChromeIsNoticedAndSpared(t *testing.T) {
	p := open(t)
	pid, stop := startChrome(t, p)
	_, err := p.ChromeLock.Clean()
	wantReason(t, err, reason.ProfileInUse)
	if err != nil && !strings.Contains(err.Error(), fmt.Sprintf("pid %d", pid)) {
		t.Errorf("error %q does not name pid %d", err, pid)
	}

	// Its socket is hidden, as by a private /tmp.
	socket := filepath.Join(p.Dir(), socketFile)
	if err := os.Rename(socket, socket+".hidden"); err != nil {
		t.Fatal(err)
	}
	_, err = p.ChromeLock.Clean()
	wantReason(t, err, reason.ProfileInUse)
	if err := os.Rename(socket+".hidden", socket); err != nil {
		t.Fatal(err)
	}

	// It is stopped, and answers nobody. Another Chrome would kill it after 20 s.
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_, err = p.ChromeLock.Clean()
	wantReason(t, err, reason.ProfileInUse)
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := p.ChromeLock.Record(pid); err != nil {
		t.Errorf("Record() = %v", err)
	}

	stop()
	if got, err := p.ChromeLock.Clean(); got != NoLock || err != nil {
		t.Errorf("Clean() after its end = %q, %v", got, err)
	}
}

func TestRealChromeStartsAfterTheLockWasCleaned(t *testing.T) {
	p := open(t)
	setLock(t, p, otherHost+"-4242424", 0)
	if got, err := p.ChromeLock.Clean(); got != StaleOtherHost || err != nil {
		t.Fatalf("Clean() = %q, %v", got, err)
	}
	pid, _ := startChrome(t, p)
	if err := p.ChromeLock.Record(pid); err != nil {
		t.Error(err)
	}
}

// waitUntil polls: there is no event for the end of a process that is not a child.
func waitUntil(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(30 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal("timed out")
		}
	}
}

var (
	boot = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	made = boot.Add(time.Hour)
)

// lockOf is evidence of a lock made on this host after boot, on a local disk, and no
// process has its pid.
func lockOf(change func(*evidence)) evidence {
	e := evidence{
		lock: lockName{host: "here", pid: 4242}, made: made, host: "here", local: true,
	}
	change(&e)
	return e
}

// older and younger than the lock, respectively.
func older(e *evidence) {
	e.holder = process{name: "x", started: made.Add(-time.Minute)}
}

func younger(e *evidence) {
	e.holder = process{name: "x", started: made.Add(time.Minute)}
}

func TestClassifyLock(t *testing.T) {
	const inUse = LockState("")
	tests := map[string]struct {
		change  func(*evidence)
		want    LockState
		message string
	}{
		"dead pid":                         {func(*evidence) {}, StaleDead, ""},
		"pid given to a plain process":     {func(e *evidence) { younger(e) }, StaleDead, ""},
		"pid given to another Chrome":      {func(e *evidence) { younger(e); e.holder.chrome = true }, StaleDead, ""},
		"started with the lock":            {func(e *evidence) { older(e); e.holder.started = made; e.holder.chrome = true }, inUse, "pid 4242"},
		"older, but no Chrome":             {older, StaleDead, ""},
		"older Chrome, another profile":    {func(e *evidence) { older(e); e.holder.chrome, e.holder.elsewhere = true, true }, StaleDead, ""},
		"older Chrome, nothing else known": {func(e *evidence) { older(e); e.holder.chrome = true }, inUse, "pid 4242"},
		"older, has our files open":        {func(e *evidence) { older(e); e.holder.holds = true }, inUse, "pid 4242"},
		"younger, has our files open":      {func(e *evidence) { younger(e); e.holder.holds = true }, inUse, "pid 4242"},
		"made before boot":                 {func(e *evidence) { e.made = boot.Add(-time.Hour) }, StaleDead, ""},
		"before boot, old Chrome":          {func(e *evidence) { e.made = boot.Add(-time.Hour); older(e); e.holder.chrome = true }, StaleDead, ""},
		"before boot, other host":          {func(e *evidence) { e.made = boot.Add(-time.Hour); e.lock.host = "there" }, StaleOtherHost, ""},
		"other host, local disk":           {func(e *evidence) { e.lock.host = "there" }, StaleOtherHost, ""},
		"other host, plain process":        {func(e *evidence) { e.lock.host = "there"; older(e) }, StaleOtherHost, ""},
		"other host, a Chrome here":        {func(e *evidence) { e.lock.host = "there"; older(e); e.holder.chrome = true }, inUse, "4242"},
		"other host, shared disk":          {func(e *evidence) { e.lock.host = "there"; e.local = false }, inUse, "remove SingletonLock"},
		"own, host renamed, shared disk": {func(e *evidence) {
			e.lock.host, e.local, e.own = "there", false, true
		}, StaleOwn, ""},
		"own, pid given to another Chrome": {func(e *evidence) {
			younger(e)
			e.holder.chrome, e.own = true, true
		}, StaleOwn, ""},
		"own, lives without its lease": {func(e *evidence) {
			older(e)
			e.holder.chrome, e.own = true, true
		}, inUse, "lost its lease"},
		"socket of another user":      {func(e *evidence) { e.hidden = true }, inUse, "another user"},
		"own, socket of another user": {func(e *evidence) { e.hidden, e.own = true, true }, StaleOwn, ""},
		"own, pid of a plain process": {func(e *evidence) {
			older(e)
			e.own = true
		}, StaleOwn, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := classify(lockOf(tt.change))
			if got != tt.want || (err != nil) != (tt.want == inUse) {
				t.Fatalf("classify() = %q, %v; want %q", got, err, tt.want)
			}
			if err == nil {
				return
			}
			if code := reason.Of(err, ""); code != reason.ProfileInUse {
				t.Errorf("reason %q", code)
			}
			if !strings.Contains(err.Error(), tt.message) {
				t.Errorf("error %q does not contain %q", err, tt.message)
			}
		})
	}
}

func TestParseLock(t *testing.T) {
	for target, want := range map[string]lockName{
		"vm-12":        {"vm", 12},
		"web-1.eu-7-9": {"web-1.eu-7", 9},
		"-5":           {"", 5},
		"nodash":       {},
		"-":            {},
		"vm-":          {},
		"vm-abc":       {},
		"vm-0":         {},
		"":             {},
	} {
		if got, ok := parseLock(target); got != want || ok != (want.pid != 0) {
			t.Errorf("parseLock(%q) = %+v, %v", target, got, ok)
		}
	}
}

func TestIsChrome(t *testing.T) {
	for exe, want := range map[string]bool{
		"/opt/google/chrome/chrome":            true,
		"/opt/google/chrome/chrome (deleted)":  true,
		"/usr/lib/chromium/chromium":           true,
		"/x/chrome-headless-shell":             true,
		"/x/headless_shell":                    true,
		"/usr/bin/bash":                        false,
		"/home/chromium/bin/python3":           false,
		"/home/chromium/bin/python3 (deleted)": false,
	} {
		if got := isChrome(exe); got != want {
			t.Errorf("isChrome(%q) = %v", exe, got)
		}
	}
}
