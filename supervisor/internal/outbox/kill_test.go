package outbox

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/database"
	"session-manager/supervisor/internal/media"
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
	files := filesOf(path)
	b, _ := start(t, Options{Path: path, Media: files})
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := 0; t.Context().Err() == nil; i++ {
				r := request("", strings.Repeat("x", 300))
				if i%4 == worker {
					r = withFile(t, files, "", killedContent)
				}
				m, _, err := b.Accept(t.Context(), r)
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

// killedContent is that of the files.
var killedContent = strings.Repeat("content ", 1000)

func filesOf(path string) *media.Store { return media.New(path+".media", media.DefaultLimits()) }

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
	files := filesOf(path)
	b, _ := start(t, Options{Path: path, Media: files})
	for id, want := range answered {
		m, err := b.Message(id)
		if err != nil || m.Status != want && m.Status != Cancelled {
			t.Errorf("got %+v, %v, want %s", m, err, want)
		}
	}
	if _, err := os.Lstat(path + database.AsideSuffix); err == nil {
		t.Error("the database was damaged")
	}
	accept(t, b, request("", "text")) // by then the first sweep has ended
	checkFiles(t, b, files)
	t.Logf("%d messages, %d files, %d kills", len(answered), len(names(t, files)), kills)
}

// checkFiles checks that each message with a file has it, and that there are no others.
func checkFiles(t *testing.T, b *Outbox, files *media.Store) {
	t.Helper()
	var owners []string
	err := b.store.ask(t.Context(), job{read: func(db messages) (err error) {
		owners, err = database.Values[string](db.DB, "SELECT id FROM message WHERE json_extract(entry, '$.file') > 0 ORDER BY id")
		return err
	}})
	if all := names(t, files); err != nil || len(all) == 0 || !slices.Equal(all, owners) {
		t.Errorf("there are %d files, and %d messages have one: %v", len(all), len(owners), err)
	}
	for _, id := range owners {
		if content, err := os.ReadFile(files.Path(id)); err != nil || string(content) != killedContent {
			t.Errorf("%s has %d bytes: %v", id, len(content), err)
		}
	}
}
