package outbox

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/database"
)

var thorough = flag.Bool("thorough", false, "kill the process that accepts messages more often")

// envPath is set for the process that accepts messages until it is killed.
const envPath = "OUTBOX_TEST_PATH"

// TestAccepter is what the other test starts and kills.
func TestAccepter(t *testing.T) {
	path := os.Getenv(envPath)
	if path == "" {
		t.Skip("it is started by TestAnsweredMessagesSurviveAKill")
	}
	b, _ := start(t, Options{Path: path})
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := 0; t.Context().Err() == nil; i++ {
				m, _, err := b.Accept(t.Context(), request("", strings.Repeat("x", 300)))
				if err != nil {
					return
				}
				_, _ = fmt.Fprintf(os.Stdout, "queued %s\n", m.ID)
				if i%3 != worker%3 {
					continue
				}
				if m, err = b.Cancel(t.Context(), m.ID); err == nil {
					_, _ = fmt.Fprintf(os.Stdout, "%s %s\n", m.Status, m.ID)
				}
			}
		})
	}
	all.Wait()
}

// acceptUntilKilled notes what a process has answered until it is killed.
func acceptUntilKilled(t *testing.T, path string, answered map[rpc.MessageID]Status) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAccepter$")
	cmd.Env = append(os.Environ(), envPath+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n, last := 0, 1+rand.IntN(60); lines.Scan(); n++ {
		status, id, ok := strings.Cut(lines.Text(), " ")
		if !ok || !rpc.MessageID(id).Valid() {
			continue
		}
		answered[rpc.MessageID(id)] = Status(status)
		if n == last {
			time.AfterFunc(rand.N(5*time.Millisecond), func() { _ = cmd.Process.Kill() })
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("it was not killed: %v", cmd.ProcessState)
	}
}

// A process is killed again and again while it accepts and cancels messages. Every answer
// that it gave still holds.
func TestAnsweredMessagesSurviveAKill(t *testing.T) {
	kills := 5
	if *thorough {
		kills = 200
	}
	path := filepath.Join(t.TempDir(), "admin.outbox")
	answered := map[rpc.MessageID]Status{}
	for range kills {
		acceptUntilKilled(t, path, answered)
	}
	b, _ := start(t, Options{Path: path})
	for id, want := range answered {
		m, err := b.Message(id)
		if err != nil || m.Status != want && m.Status != Cancelled {
			t.Errorf("got %+v, %v, want %s", m, err, want)
		}
	}
	if _, err := os.Lstat(path + database.AsideSuffix); err == nil {
		t.Error("the database was damaged")
	}
	t.Logf("%d messages, %d kills", len(answered), kills)
}
