package persist_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-rod/rod/lib/proto"
	"github.com/prometheus/procfs"

	"session-manager/shared/proctree"
	"session-manager/worker/internal/browser/browsertest"
	"session-manager/worker/internal/persist"
)

func written(t *testing.T, root int) (disk, chars uint64, storage uint64) {
	list, _ := proctree.Descendants(root)
	for _, p := range append(list, proctree.Process{PID: root}) {
		q, err := procfs.NewProc(p.PID)
		if err != nil {
			continue
		}
		io, err := q.IO()
		if err != nil {
			continue
		}
		disk += io.WriteBytes
		chars += io.WChar
		if line, _ := q.CmdLine(); strings.Contains(strings.Join(line, " "), "StorageService") {
			storage += io.WriteBytes
		}
	}
	return
}

func TestMeasure(t *testing.T) {
	for _, every := range []int{1000, 10000} {
		for _, args := range [][]string{nil, {"--enable-aggressive-domstorage-flushing"}} {
			t.Run(fmt.Sprint(every, len(args)), func(t *testing.T) {
				t.Parallel()
				o := browsertest.Options(t)
				o.Args = args
				url := serve(t)
				b := start(t, o)
				page, err := b.Rod().Context(t.Context()).Page(proto.TargetCreateTarget{URL: url})
				if err != nil {
					t.Fatal(err)
				}
				_ = page.WaitLoad()
				if _, err := page.Eval(`every => { let n = 0; setInterval(() => localStorage.setItem("log", n++ + "x".repeat(200)), every); }`, every); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Second)
				d0, c0, s0 := written(t, b.PID())
				time.Sleep(60 * time.Second)
				d1, c1, s1 := written(t, b.PID())
				begun := time.Now()
				if _, err := page.Eval(`() => localStorage.setItem("login", "v")`); err != nil {
					t.Fatal(err)
				}
				for {
					if ok, _ := persist.Stored(o.ProfileDir, o.ScratchDir, url, []string{"login"}); ok || time.Since(begun) > 100*time.Second {
						break
					}
					time.Sleep(50 * time.Millisecond)
				}
				t.Logf("RESULT every %d ms, %v: stored after %v; in 60 s written to disk %d KB, of storage %d KB, wchar %d KB", every, args, time.Since(begun), (d1-d0)>>10, (s1-s0)>>10, (c1-c0)>>10)
			})
		}
	}
}
