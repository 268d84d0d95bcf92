package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-plugin"

	"session-manager/shared/reason"
)

// fake is a Worker made of functions.
type fake struct {
	Worker     // what has no function below panics
	events     func(context.Context, func(Event) error) error
	stop       func(context.Context) error
	screenshot func(context.Context) ([]byte, error)
	pair       func(context.Context, Secret) (Pairing, error)
	learn      func(context.Context, []byte) error
	diagnose   func(context.Context) (Diagnosis, error)
	send       func(context.Context, Message) (MessageState, error)
	lookup     func(context.Context, []MessageRef) ([]MessageState, error)
	contact    func(context.Context, Secret) (Contact, error)
	passkey    func(context.Context, PasskeyCommand) (PasskeyCall, error)
	receive    func(context.Context, ReceiveQuery) (Reception, error)
}

func (f fake) Events(ctx context.Context, emit func(Event) error) error {
	return f.events(ctx, emit)
}
func (f fake) Stop(ctx context.Context) error                 { return f.stop(ctx) }
func (f fake) Screenshot(ctx context.Context) ([]byte, error) { return f.screenshot(ctx) }
func (f fake) Pair(ctx context.Context, phone Secret) (Pairing, error) {
	return f.pair(ctx, phone)
}
func (f fake) LogOut(ctx context.Context) error                    { return f.stop(ctx) }
func (f fake) SetSelectors(ctx context.Context, file []byte) error { return f.learn(ctx, file) }
func (f fake) Diagnose(ctx context.Context) (Diagnosis, error)     { return f.diagnose(ctx) }
func (f fake) Send(ctx context.Context, m Message) (MessageState, error) {
	return f.send(ctx, m)
}
func (f fake) Lookup(ctx context.Context, refs []MessageRef) ([]MessageState, error) {
	return f.lookup(ctx, refs)
}
func (f fake) Receive(ctx context.Context, r ReceiveQuery) (Reception, error) {
	return f.receive(ctx, r)
}
func (f fake) Contact(ctx context.Context, phone Secret) (Contact, error) {
	return f.contact(ctx, phone)
}

func (f fake) Passkey(ctx context.Context, c PasskeyCommand) (PasskeyCall, error) {
	return f.passkey(ctx, c)
}

// dial serves w over a real gRPC connection and returns the other end.
func dial(t *testing.T, w Worker) *Client {
	t.Helper()
	t.Setenv("TMPDIR", "/tmp") // a socket is made there, whose path must be short
	client, _ := plugin.TestPluginGRPCConn(t, false, plugin.PluginSet{pluginName: &glue{worker: w}})
	// Closing the client asks the server to stop; to stop it from here as well
	// is a race in go-plugin.
	t.Cleanup(func() { _ = client.Close() })
	c, err := dispense(client)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEventsArriveAsTheyWereSent(t *testing.T) {
	sent := []Event{
		{Generation: 1, Seq: 1, Waited: 80 * time.Millisecond, Body: PhaseChanged{Phase: PhaseNavigate}},
		{Generation: 1, Seq: 2, Body: BrowserStarted{PID: 42, Product: "Chrome/1", UserAgent: "ua", Sandbox: true}},
		{Generation: 1, Seq: 3, Body: PageObserved{Condition: PageSyncing, Reason: reason.Syncing, Detail: "d", Progress: 7, Registered: true, Persisted: true, PageVersion: "2.3", RetryAt: time.UnixMilli(1_800_000_000_000).UTC()}},
		{Generation: 1, Seq: 4, Body: PageObserved{Condition: PageLoading, Progress: -1}},
		{Generation: 1, Seq: 5, Body: QRShown{Payload: "2@secret", Reader: "dom", Seq: 3, TTL: 20 * time.Second, Renewals: 2}},
		{Generation: 1, Seq: 6, Body: QRGone{Cause: "scanned"}},
		{Generation: 1, Seq: 7, Body: Heartbeat{ResidentBytes: 9}},
		{Generation: 1, Seq: 8, Body: Failure{Reason: reason.BrowserCrashed, Detail: "d", ChromeStderr: []string{"a", "b"}}},
		{Generation: 1, Seq: 9, Body: BrowserExited{Exit: "signal killed"}},
		{Generation: 1, Seq: 9, Body: BackupChecked{Outcome: BackupRejected, Detail: "d", Databases: 3}},
		{Generation: 1, Seq: 10, Body: MessageChanged{ID: anID, Ack: -1, Refusal: 463, At: aTime}},
		{Generation: 1, Seq: 11, Body: SendingObserved{Possible: true, Why: "w", Account: AccountAt("1@c.us", "1@lid"), NewChats: NewChats{
			Restricted: true, RestrictedUntil: aTime, Capped: true, Used: 3, Quota: 4, CappedUntil: aTime, Challenge: true, ChallengePasskey: true,
		}}},
		{Generation: 1, Seq: 12, Body: ReceivingObserved{Possible: true, Reactions: true, Why: "w"}},
		{Generation: 1, Seq: 12, Body: PasskeyChanged{Stage: PasskeyConfirming, Code: "K7QX2M9P", TTL: 2 * time.Minute}},
		{Generation: 1, Seq: 13, Body: PasskeyChanged{Stage: PasskeyFailed, Reason: PasskeyTimeout, TTL: 9 * time.Minute, HandoffTTL: 4 * time.Minute}},
	}
	c := dial(t, fake{events: func(_ context.Context, emit func(Event) error) error {
		for _, e := range sent {
			if err := emit(e); err != nil {
				return err
			}
		}
		return nil
	}})
	var got []Event
	err := c.Events(t.Context(), func(e Event) error {
		got = append(got, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sent, got); d != "" {
		t.Error(d)
	}
}

func TestReactionsArriveBounded(t *testing.T) {
	whole := Reaction{Message: "false_1@lid_3A", Reaction: "3B", ID: "3A", Chat: Chat{LID: "1@lid"}, From: Chat{Phone: "1@c.us"}, FromMe: true, Emoji: "👍", At: aTime}
	long := whole
	long.Emoji = Secret(strings.Repeat("👍", 1000))
	var asked ReceiveQuery
	c := dial(t, fake{receive: func(_ context.Context, q ReceiveQuery) (Reception, error) {
		asked = q
		return Reception{
			Reacted: []Secret{"", "key", Secret(strings.Repeat("k", 1000))}, More: true,
			Reactions: append([]Reaction{whole, {Message: "m", Reaction: "3B", ID: "3A"}, {ID: "3A", Chat: whole.Chat}, long}, make([]Reaction, 2*MaxReactions)...),
		}, nil
	}})
	q := ReceiveQuery{Keys: []Secret{"a", "b"}, Errand: ReadReactions, Since: aTime}
	got, err := c.Receive(t.Context(), q)
	if err != nil || !cmp.Equal(asked, q) {
		t.Errorf("asked for %+v, %v", asked, err)
	}
	if len(got.Reactions) != 2 || got.Reactions[0] != whole || len(got.Reactions[1].Emoji) > 2*maxReaction || !slices.Equal(got.Reacted, []Secret{"key"}) {
		t.Errorf("got %+v", got)
	}
}

// Who sends a message chooses its id, which must not hide the message.
func TestMessagesWithOddIDsArrive(t *testing.T) {
	odd := []string{"", "../x", "a_b", `"`, "\x00", "é", strings.Repeat("A", 1000)}
	c := dial(t, fake{receive: func(context.Context, ReceiveQuery) (got Reception, _ error) {
		for _, id := range append(odd, "3A") {
			chat := Chat{LID: "1@lid"}
			got.Messages = append(got.Messages, Received{Key: "key", ID: id, ReplyTo: id, Chat: chat})
			got.Reactions = append(got.Reactions, Reaction{Message: "key", ID: id, Reaction: id + "x", Chat: chat})
		}
		return got, nil
	}})
	got, err := c.Receive(t.Context(), ReceiveQuery{Limit: 1})
	if err != nil || len(got.Messages) != len(odd)+1 || len(got.Reactions) != len(odd)+1 {
		t.Fatalf("got %+v, %v", got, err)
	}
	for n, m := range got.Messages {
		want := ""
		if n == len(odd) {
			want = "3A"
		}
		if r := got.Reactions[n]; m.ID != want || m.ReplyTo != want || r.ID != want || r.Reaction == "" || len(r.Reaction) > 2*maxName {
			t.Errorf("%d: %q, %q, %+v", n, m.ID, m.ReplyTo, r)
		}
	}
}

func TestErrorsKeepTheirMeaning(t *testing.T) {
	for name, tt := range map[string]struct{ sent, want error }{
		"no page":    {ErrNoPage, ErrNoPage},
		"no request": {ErrNoRequest, ErrNoRequest},
		"streaming":  {fmt.Errorf("x: %w", ErrAlreadyStreaming), ErrAlreadyStreaming},
		"linked":     {ErrNotUnlinked, ErrNotUnlinked},
		"not linked": {ErrNotLinked, ErrNotLinked},
		"phone":      {fmt.Errorf("x: %w", ErrPhoneRefused), ErrPhoneRefused},
		"forbidden":  {ErrPairingForbidden, ErrPairingForbidden},
		"attempts":   {ErrTooManyAttempts, ErrTooManyAttempts},
		"failed":     {ErrPairingFailed, ErrPairingFailed},
		"no answer":  {fmt.Errorf("x: %w", ErrPairingTimeout), ErrPairingTimeout},
		"no pairing": {ErrPairingUnavailable, ErrPairingUnavailable},
		"selectors":  {ErrSelectors, ErrSelectors},
		"deadline":   {context.DeadlineExceeded, context.DeadlineExceeded},
		"cancelled":  {context.Canceled, ErrWorkerGone},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, fake{stop: func(context.Context) error { return tt.sent }})
			for call, err := range map[string]error{"stop": c.Stop(t.Context()), "log out": c.LogOut(t.Context())} {
				if !errors.Is(err, tt.want) {
					t.Errorf("%s: got %v, want %v", call, err, tt.want)
				}
			}
		})
	}
	c := dial(t, fake{screenshot: func(context.Context) ([]byte, error) { return nil, errors.New("the cause") }})
	if _, err := c.Screenshot(t.Context()); err == nil || !strings.Contains(err.Error(), "the cause") {
		t.Errorf("got %v", err)
	}
}

func TestScreenshotCrossesTheWire(t *testing.T) {
	c := dial(t, fake{screenshot: func(context.Context) ([]byte, error) { return []byte("png"), nil }})
	got, err := c.Screenshot(t.Context())
	if err != nil || string(got) != "png" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestCommandsCrossTheWire(t *testing.T) {
	pairing := Pairing{Code: "ABCD1234", TTL: 180 * time.Second}
	diagnosis := Diagnosis{
		URL: "http://x/", PageVersion: "2", UserAgent: "u", Outline: "html\n body", Console: []string{"a", "b"},
		Readers: []ReaderView{{"dom", "nothing"}, {"screenshot", "a fresh string"}},
	}
	var phone Secret
	var learnt string
	c := dial(t, fake{
		pair:     func(_ context.Context, p Secret) (Pairing, error) { phone = p; return pairing, nil },
		learn:    func(_ context.Context, file []byte) error { learnt = string(file); return nil },
		diagnose: func(context.Context) (Diagnosis, error) { return diagnosis, nil },
	})
	if got, err := c.Pair(t.Context(), "4915112345678"); err != nil || got != pairing || phone != "4915112345678" {
		t.Errorf("Pair() = %v, %v", got, err)
	}
	if err := c.SetSelectors(t.Context(), []byte("{}")); err != nil || learnt != "{}" {
		t.Errorf("SetSelectors() = %v", err)
	}
	got, err := c.Diagnose(t.Context())
	if d := cmp.Diff(diagnosis, got); err != nil || d != "" {
		t.Errorf("Diagnose() = %v\n%s", err, d)
	}
}

func TestCallerThatGoesAwayCancelsTheStream(t *testing.T) {
	ended := make(chan error, 1)
	c := dial(t, fake{events: func(ctx context.Context, emit func(Event) error) error {
		if err := emit(Event{Generation: 1, Seq: 1, Body: QRGone{}}); err != nil {
			return err
		}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Events(ctx, func(Event) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the worker saw %v", err)
	}
}

func TestErrorOfEmitEndsTheStream(t *testing.T) {
	full := errors.New("full")
	c := dial(t, fake{events: func(ctx context.Context, emit func(Event) error) error {
		if err := emit(Event{Generation: 1, Seq: 1, Body: QRGone{}}); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}})
	if err := c.Events(t.Context(), func(Event) error { return full }); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	payload := QRPayload("2@secret")
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "payload", payload, "event", QRShown{Payload: payload})
	for _, printed := range []string{
		fmt.Sprint(payload), fmt.Sprintf("%s %q %v %#v %+v", payload, payload, payload, payload, QRShown{Payload: payload}), log.String(),
	} {
		if strings.Contains(printed, "secret") {
			t.Errorf("printed %s", printed)
		}
	}
}

func TestDeadlineFactorStretchesDeadlines(t *testing.T) {
	for factor, want := range map[DeadlineFactor]time.Duration{0: 4 * time.Second, 1: 4 * time.Second, 0.5: 2 * time.Second, 2.5: 10 * time.Second} {
		got := 4 * time.Second
		factor.Stretch(&got)
		if got != want {
			t.Errorf("Stretch() by %v = %v, want %v", factor, got, want)
		}
	}
}
