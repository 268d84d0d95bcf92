package proctree

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// TrimPeriod is how often a process at rest trims itself: a trim takes 3 ms of a
// processor.
const TrimPeriod = time.Minute

// KeepTrimmed trims this process every TrimPeriod until ctx ends. Most of what a start
// uses, code as well as memory, is not used again before the next.
func KeepTrimmed(ctx context.Context) {
	ticker := time.NewTicker(TrimPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			_ = Trim() // what is left is only larger
		}
	}
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
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) < 2:
		case !strings.HasSuffix(fields[0], ":"):
			if _, err := fmt.Sscanf(fields[0], "%x-%x", &m.start, &m.end); err != nil {
				return nil, fmt.Errorf("unexpected line %q: %w", lines.Text(), err)
			}
			ofFile = len(fields) > 5 && strings.HasPrefix(fields[5], "/") && !strings.Contains(fields[1], "w")
		case ofFile && fields[0] == "Anonymous:" && fields[1] == "0":
			found = append(found, m)
		}
	}
	return found, lines.Err()
}
