package proctree

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

const (
	// TrimPeriod is how often a process looks whether a trim is due.
	TrimPeriod = 15 * time.Second
	// TrimAnyway is how long a process waits at most for its next trim.
	TrimAnyway = 2 * time.Minute
	// enough is how much a process has allocated since its last trim, in bytes, when the next is
	// worth 5 ms of a processor. A QR takes 1.2 to 1.6 MB to draw. With twice as much, supervisor
	// and worker hold 4 MB more (PSS, with a QR), and need 0.02 % of a core less.
	enough = 1 << 20
	// busy is how much a process allocates in a TrimPeriod, in bytes, when it would need what a trim
	// returns at once.
	busy = 16 << 20
)

// GCPercent lets the heap, of which 2 MB are in use at rest, grow to 8 MB before it is
// collected (runtime/debug.SetGCPercent). At rest a trim comes earlier, which collects as well: a
// collection looks up each function that waits, for which 4 MB of the binary's tables are mapped
// again.
const GCPercent = 200

// KeepTrimmed trims this process until ctx ends, whenever that is due. Most of what a
// start uses, code as well as memory, is not used again before the next.
func KeepTrimmed(ctx context.Context) {
	ticker := time.NewTicker(TrimPeriod)
	defer ticker.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var trimmed, last uint64 // allocated until then
	at := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			metrics.Read(sample)
			allocated := sample[0].Value.Uint64()
			if due(allocated-trimmed, allocated-last, now.Sub(at)) {
				trimmed, at = allocated, now
				_ = Trim() // what is left is only larger
			}
			last = allocated
		}
	}
}

// due reports whether to trim a process that has allocated so much since its last trim, so much
// of it lately, and so long after that trim.
func due(since, lately uint64, after time.Duration) bool {
	return after >= TrimAnyway || since >= enough && lately < busy
}

// Trim returns the free memory of this process to the kernel, and unmaps the pages of
// its binary. Those stay in the page cache, which the kernel can empty without writing, and
// the ones that are in use are mapped again without reading from disk (madvise(2),
// MADV_DONTNEED). Until then the kernel counts all of them as in use, including 15
// neighbours of each (fault_around_bytes).
func Trim() error {
	debug.FreeOSMemory()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("cannot read mappings: %w", err)
	}
	defer func() { _ = f.Close() }()
	mappings, err := pristine(f)
	if err != nil {
		return fmt.Errorf("cannot read mappings: %w", err)
	}
	for _, m := range mappings {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("cannot unmap pages: %w", errno)
		}
	}
	return nil
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// pristine returns the mappings of files, in the format of /proc/PID/smaps
// (proc_pid_smaps(5)), that can't be written and contain nothing but what is in the file.
// What a loader or debugger has changed is Anonymous, and would be lost.
func pristine(smaps io.Reader) ([]mapping, error) {
	var found []mapping
	var m mapping
	ofFile := false
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		line := lines.Bytes()
		anonymous, ofAnonymous := bytes.CutPrefix(line, []byte("Anonymous:"))
		switch {
		case ofAnonymous && ofFile && bytes.Equal(bytes.TrimSpace(anonymous), []byte("0 kB")):
			found = append(found, m)
		case len(line) == 0 || unicode.IsUpper(rune(line[0])): // of the same mapping
		default:
			if _, err := fmt.Sscanf(string(line), "%x-%x ", &m.start, &m.end); err != nil {
				return nil, fmt.Errorf("unexpected line %q: %w", line, err)
			}
			fields := strings.Fields(string(line))
			ofFile = len(fields) > 5 && strings.HasPrefix(fields[5], "/") && !strings.Contains(fields[1], "w")
		}
	}
	return found, lines.Err()
}
