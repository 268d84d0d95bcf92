package openapi

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"session-manager/scripts/harness"
	"session-manager/scripts/simulator"
)

var installed = flag.Bool("installed", false, "use what npm has put into .cache (make openapi)")

// limit is for the whole job.
const limit = 3 * time.Minute

// TestGeneratedClientDoesTheMainJob runs client.mts, which uses types that were made from
// openapi.yaml: it waits for the QR, sends a message and follows it, and reads pages.
func TestGeneratedClientDoesTheMainJob(t *testing.T) {
	if !*installed {
		t.Skip("make openapi installs openapi-typescript and runs this")
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	binaries, err := harness.Build(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	phone, err := harness.NewPhone(simulator.Options{Speed: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer phone.Close()
	folder, err := os.MkdirTemp("", "client") // short, since sockets are made in it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	service, err := harness.Start(ctx, harness.Options{
		Supervisor: binaries.Supervisor, Folder: folder, URL: phone.URL,
		Args: []string{"--message-pause", "0s", "--new-chat-pause", "0s", "--settle-time", "0s", "--messages", "both"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer service.Kill()
	picture := filepath.Join(folder, "qr.png")
	client := exec.CommandContext(ctx, "node", ".cache/out/client.mjs", service.Base, picture, "+15550101001")
	client.Stderr = os.Stderr
	out, err := client.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said = append(said, lines.Text())
		if err := answer(ctx, phone, lines.Text(), picture); err != nil {
			t.Error(err)
			cancel()
		}
	}
	want := "message delivered\nanswers not_linked 202 200 true idempotency_conflict invalid_recipient\ntexts one two"
	if err := client.Wait(); err != nil || !strings.HasSuffix(strings.Join(said, "\n"), want) {
		t.Errorf("%v, after %q; the service's log: %s", err, said, service.Log())
	}
}

// answer does what the client waits for after it has printed a line.
func answer(ctx context.Context, phone *harness.Phone, line, picture string) error {
	id, accepted := strings.CutPrefix(line, "accepted ")
	switch {
	case line == "qr":
		f, err := os.Open(picture)
		if err != nil {
			return err
		}
		_, err = png.DecodeConfig(f)
		return errors.Join(err, f.Close(), phone.Scan(ctx))
	case accepted:
		err := phone.AwaitSent(ctx, func(all []simulator.Sent) bool { return len(all) == 1 && all[0].ID == id })
		if err != nil {
			return fmt.Errorf("not sent: %w", err)
		}
		phone.Receive("15550101001", "one")
		phone.Receive("15550101001", "two")
		return phone.Ack(id, 2)
	}
	return nil
}
