package peers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"session-manager/scripts/simulator"
	"session-manager/shared/chrome"
)

// syncLimit is how long a program takes from the scan until it has sent.
const syncLimit = 60 * time.Second

func TestProgramsSendAsTheirSourcesPredict(t *testing.T) {
	if !*installed {
		t.Skip("make peers installs and runs the programs")
	}
	browser, err := chrome.Find("")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		program string
		faults  []string
		script  func(context.Context, *reading) error
	}{
		{"whatsapp-web.js sends", []string{"key=serialized", "offline=queue:3"}, sendsAndReceives},
		{"whatsapp-web.js sends", []string{"key=minified"}, losesItsMessage},
		{"wppconnect sends", nil, sendsOnce},
		{"wppconnect receives", []string{"offline=queue:3"}, receives},
	} {
		t.Run(c.program+" "+strings.Join(c.faults, " "), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			stage, err := OpenStage(simulator.Options{Faults: c.faults})
			if err != nil {
				t.Fatal(err)
			}
			defer stage.Close()
			r := &reading{t: t, Stage: stage}
			if r.Program, err = stage.Start(ctx, ".", c.program, browser.Path); err != nil {
				t.Fatal(err)
			}
			defer r.Stop()
			if err := c.script(ctx, r); err != nil {
				t.Error(err)
			}
		})
	}
}

// sends links the program and returns what it got for its text, and what the server has.
func sends(ctx context.Context, r *reading) (string, simulator.Sent, error) {
	if !r.Await(ctx, codeLife+15*time.Second, func(e Event) bool { return e.Name == "qr" }) {
		return "", simulator.Sent{}, fmt.Errorf("it has no code; %s", r.Complaint())
	}
	if err := r.Sim.Scan(ctx); err != nil {
		return "", simulator.Sent{}, err
	}
	if !r.Await(ctx, syncLimit, func(e Event) bool { return e.Name == "sent" }) {
		return "", simulator.Sent{}, fmt.Errorf("it has sent nothing; %s", r.Complaint())
	}
	got, sent := r.Values("sent")[0], r.Sim.Sent()
	if len(sent) != 1 {
		return got, simulator.Sent{}, fmt.Errorf("the server has %d messages; it got %s", len(sent), got)
	}
	r.find(sent[0].Text == "from a peer" && len(sent[0].Times) == 1, "the server has the text, once", "%q, %d times", sent[0].Text, len(sent[0].Times))
	return got, sent[0], nil
}

// sendsAndReceives: it gets its message, and events for what comes while the page runs.
func sendsAndReceives(ctx context.Context, r *reading) error {
	got, sent, err := sends(ctx, r)
	if err != nil {
		return err
	}
	r.find(strings.HasSuffix(got, "_"+sent.ID), "sendMessage: a Message with the server's id", "%s", got)
	r.hears(ctx)
	if err := r.Sim.Ack(sent.ID, 3); err != nil {
		return err
	}
	read := r.Await(ctx, silence, func(e Event) bool { return e.Name == "ack" && e.Value == "3" })
	r.find(read, "message_ack: 3 once it is read", "%v", r.Values("ack"))
	return nil
}

// hears: what came while the page was starting is lost to it.
func (r *reading) hears(ctx context.Context) {
	r.t.Helper()
	r.Sim.Receive("15550101002", "to a peer")
	r.Await(ctx, silence, func(e Event) bool { return e.Name == "message" && e.Value == "to a peer" })
	// The last one may not be confirmed yet.
	r.find(slices.Equal(r.Values("message"), []string{"to a peer"}) && r.Sim.Undelivered() <= 1,
		"message: what comes live, nothing of the three that came before", "%q", r.Values("message"))
}

// losesItsMessage: it looks its message up by a property that keys no longer have.
func losesItsMessage(ctx context.Context, r *reading) error {
	got, _, err := sends(ctx, r)
	if err != nil {
		return err
	}
	r.find(got == "undefined", "sendMessage: undefined, though the server has it", "%s", got)
	return nil
}

// receives: it is linked, and gets events for what comes while the page runs.
func receives(ctx context.Context, r *reading) error {
	if !r.Await(ctx, codeLife+15*time.Second, func(e Event) bool { return e.Name == "qr" }) {
		return fmt.Errorf("it has no code; %s", r.Complaint())
	}
	if err := r.Sim.Scan(ctx); err != nil {
		return err
	}
	if !r.Await(ctx, syncLimit, func(e Event) bool { return e.Name == "ready" }) {
		return fmt.Errorf("it is not ready; %s", r.Complaint())
	}
	r.hears(ctx)
	return nil
}

// sendsOnce: an id of the caller's is used, and a second time refused.
func sendsOnce(ctx context.Context, r *reading) error {
	got, sent, err := sends(ctx, r)
	if err != nil {
		return err
	}
	r.find(got == "true_15550101001@c.us_"+sent.ID+" 1 OK", "sendTextMessage: ack 1, OK, the caller's id", "%s", got)
	r.Await(ctx, silence, func(Event) bool { return len(r.Values("sent")) > 1 })
	again := r.Values("sent")
	r.find(len(again) == 2 && strings.HasPrefix(again[1], "rejected: DuplicateMessageError") && len(r.Sim.Sent()[0].Times) == 1,
		"the same messageId again: rejected", "%q", again[1:])
	r.t.Logf("the trap was sprung %d times", r.Sim.Traps())
	return nil
}
