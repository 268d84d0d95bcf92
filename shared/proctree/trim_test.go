package proctree

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestOnlyUnchangedFilesAreUnmapped(t *testing.T) {
	part := func(line, anonymous string) string {
		return line + "\nSize: 8 kB\nPss_Dirty: 0 kB\nAnonymous: " + anonymous + " kB\nVmFlags: rd mr\n"
	}
	const code = "00400000-00c43000 r-xp 00001000 fe:00 4711 "
	for name, tt := range map[string]struct {
		smaps string
		want  []mapping
	}{
		"code":                  {part(code+"/usr/bin/x", "0"), []mapping{{0x400000, 0xc43000}}},
		"name with a space":     {part(code+"/usr/bin/x (deleted)", "0"), []mapping{{0x400000, 0xc43000}}},
		"with a breakpoint":     {part(code+"/usr/bin/x", "4"), nil},
		"data":                  {part("00400000-00c43000 rw-p 00001000 fe:00 4711 /usr/bin/x", "0"), nil},
		"heap":                  {part("00400000-00c43000 rw-p 00000000 00:00 0", "0"), nil},
		"nothing mapped yet":    {part("00400000-00c43000 ---p 00000000 00:00 0", "0"), nil},
		"the kernel's":          {part("7ffd2000-7ffd4000 r-xp 00000000 00:00 0 [vdso]", "0"), nil},
		"second of two":         {part("00400000-00c43000 rw-p 00000000 00:00 0", "8") + part(code+"/x", "0"), []mapping{{0x400000, 0xc43000}}},
		"addresses of 47 bits":  {part("7f23d4431000-7f23d4432000 r--p 00000000 fe:00 1 /x", "0"), []mapping{{0x7f23d4431000, 0x7f23d4432000}}},
		"a kernel without them": {code + "/usr/bin/x\nSize: 8 kB\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := pristine(strings.NewReader(tt.smaps))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(mapping{})); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := pristine(strings.NewReader("something else")); err == nil {
		t.Error("what is no list of mappings was read as one")
	}
}

func TestTrimUnmapsFilesAndKeepsWhatWasChanged(t *testing.T) {
	const pages = 256
	content := bytes.Repeat([]byte("0123456789abcdef"), pages*os.Getpagesize()/16)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	untouched, changed := mapped(t, file), mapped(t, file)
	changed[0] = 'x'
	for _, m := range [][]byte{untouched, changed} {
		if err := unix.Mprotect(m, unix.PROT_READ); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m[1:], content[1:]) || present(t, m) != pages {
			t.Fatalf("%d of %d pages are mapped once they were read", present(t, m), pages)
		}
	}
	if err := Trim(); err != nil {
		t.Fatal(err)
	}
	if n := present(t, untouched); n != 0 {
		t.Errorf("%d of %d pages are mapped after the trim", n, pages)
	}
	if !bytes.Equal(untouched, content) || changed[0] != 'x' || !bytes.Equal(changed[1:], content[1:]) {
		t.Error("the trim has changed what is in memory")
	}
}

func TestTrimIsDue(t *testing.T) {
	const mb = 1 << 20
	for name, tt := range map[string]struct {
		since, lately uint64
		after         time.Duration
		want          bool
	}{
		"nothing was allocated":             {0, 0, time.Minute, false},
		"the same QR was looked at":         {mb - 1, mb / 4, 30 * time.Second, false},
		"a QR was drawn":                    {5 * mb / 4, 5 * mb / 4, 30 * time.Second, true},
		"the start has just ended":          {20 * mb, 20 * mb, TrimPeriod, false},
		"the start has ended a while ago":   {20 * mb, mb / 2, 2 * TrimPeriod, true},
		"many requests":                     {400 * mb, 200 * mb, time.Minute, false},
		"many requests for a long time":     {800 * mb, 200 * mb, TrimAnyway, true},
		"what was live then may not be now": {mb / 2, mb / 8, TrimAnyway, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := due(tt.since, tt.lately, tt.after); got != tt.want {
				t.Errorf("due is %t", got)
			}
		})
	}
}

// mapped maps the file, writable and private.
func mapped(t *testing.T, file string) []byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(m) })
	return m
}

// present counts the mapped pages of m (Documentation/admin-guide/mm/pagemap.rst in Linux).
func present(t *testing.T, m []byte) (n int) {
	t.Helper()
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	page := uintptr(os.Getpagesize())
	entries := make([]byte, uintptr(len(m))/page*8)
	first := uintptr(unsafe.Pointer(unsafe.SliceData(m))) / page
	if _, err := f.ReadAt(entries, int64(first*8)); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(entries); i += 8 {
		if binary.NativeEndian.Uint64(entries[i:])>>63 == 1 {
			n++
		}
	}
	return n
}
