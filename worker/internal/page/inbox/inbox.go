// Package inbox reads the messages that have arrived from the page's own table, and reports
// when there is something to read. It keeps nothing, marks nothing as read, and does nothing
// at all unless receiving is switched on.
package inbox

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/worker/internal/logid"
	"session-manager/worker/internal/page/message"
	"session-manager/worker/internal/page/observe"
	"session-manager/worker/internal/page/target"
)

const (
	// hintRate and hintBurst bound how often it is reported that there is something to read.
	hintRate  = 2
	hintBurst = 20
	// every is how often listeners are put in again, which the page can lose, and retry how
	// soon after a failure.
	every = time.Minute
	retry = 2 * time.Second
)

// Options are what an Inbox works with.
type Options struct {
	Target *target.Target
	Views  *observe.Latest
	// Messages explains what stops the page, and knows whether it is ready.
	Messages *message.Messages
	// Arrived receives when the page has something to read.
	Arrived <-chan struct{}
	// Emit is called with MessagesArrived and ReceivingObserved.
	Emit func(rpc.EventBody)
	Log  *slog.Logger
	// On allows messages to leave the page.
	On bool
	// Call is how long the page may take for what it has at hand.
	Call time.Duration
}

// Inbox reads received messages. It is safe for concurrent use.
type Inbox struct {
	o    Options
	tool *target.Tool

	observed chan struct{} // receives when there is another view
	// What follows is only used by Run.
	pace *rate.Limiter
	of   message.Subject // what was listened to last
	next time.Time       // when to listen again
	last rpc.ReceivingObserved
}

// ledger makes what inbox.js keeps in one document.
const ledger = `({ changed: new Set(), reacted: new Set(), watched: new Set(), leaves: [], lost: false, reading: 0, shown: 0, files: new Map() })`

// New returns the Inbox of a page. Run reports on it.
func New(o Options) *Inbox {
	return &Inbox{
		o: o, observed: make(chan struct{}, 1), pace: rate.NewLimiter(hintRate, hintBurst),
		tool: target.NewTool(o.Target, ledger, func(s *target.Scripts) string { return s.Inbox }),
	}
}

// Observed is called when there is another view of the page. It never blocks.
func (i *Inbox) Observed() {
	select {
	case i.observed <- struct{}{}:
	default:
	}
}

// Run listens to the page's messages, and reports that there are some, until ctx ends.
func (i *Inbox) Run(ctx context.Context) {
	if !i.o.On {
		return
	}
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		arrived := false
		select {
		case <-ctx.Done():
			return
		case <-i.o.Arrived:
			arrived = true
		case <-i.observed:
		case <-timer.C:
		}
		i.listen(ctx)
		if arrived && i.pace.Wait(ctx) == nil {
			i.o.Emit(rpc.MessagesArrived{})
		}
		timer.Reset(max(0, time.Until(i.next)))
	}
}

// listen puts our listeners into a document that is ready, if that is due.
func (i *Inbox) listen(ctx context.Context) {
	v, now := i.o.Views.Get(), time.Now()
	current := message.SubjectOf(v, i.o.Target)
	if current == i.of && now.Before(i.next) {
		return
	}
	fresh := current != i.of
	i.of, i.next = current, now.Add(every)
	if !current.Ready {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, i.o.Call)
	defer cancel()
	var heard heard
	object, err := i.tool.Object(ctx, v.Document, v.Page)
	if err == nil {
		err = object.Invoke(ctx, &heard, "listen")
	}
	seen := heard.observed(i.o.Messages.Function)
	switch {
	case err != nil:
		seen = rpc.ReceivingObserved{Why: "the page does not answer"}
	case heard.Missing != "" && !i.o.Views.Still(ctx, v):
		seen = rpc.ReceivingObserved{Why: "the page is still loading"}
	}
	i.report(ctx, seen, now, fresh, errors.Is(err, target.ErrStale))
}

// report reports what the page can be read for, unless its document went away.
func (i *Inbox) report(ctx context.Context, seen rpc.ReceivingObserved, now time.Time, fresh, stale bool) {
	if !seen.Possible {
		i.next = now.Add(retry)
	}
	if stale || ctx.Err() != nil {
		return
	}
	if seen != i.last {
		i.o.Log.Info(logid.ReceivingChanged, "possible", seen.Possible, "reactions", seen.Reactions, logging.KeyDetail, seen.Why)
	}
	if seen != i.last || fresh {
		i.o.Emit(seen)
	}
	i.last = seen
}

// heard is what the page lacks for reading messages, for reading reactions, and for noticing
// those.
type heard struct{ Missing, Unread, Unheard string }

// observed is what that means. function explains what something is.
func (h heard) observed(function func(string) string) rpc.ReceivingObserved {
	switch {
	case h.Missing != "":
		return rpc.ReceivingObserved{Why: "the page's " + function(h.Missing) + " is missing"}
	case h.Unread != "":
		return rpc.ReceivingObserved{Possible: true, Why: "reactions can't be read: the page's " + function(h.Unread) + " is missing"}
	case h.Unheard != "":
		return rpc.ReceivingObserved{
			Possible: true, Reactions: true, Why: "reactions are noticed late: the page's " + function(h.Unheard) + " is missing",
		}
	}
	return rpc.ReceivingObserved{Possible: true, Reactions: true}
}

// answer is what the page answers, in its own words. Nothing of it is trusted.
type answer struct {
	message.Stopped
	Account           message.Own
	Known, Lost, More bool
	Marks             []struct {
		Row float64
		Sum string
	}
	Messages, Changed []received
	Reacted           []string
	Reactions         []reaction
	// Part is in base64.
	Part string
}

type reaction struct {
	Message, ID, Reaction, Emoji string
	Chat, From                   place
	Own                          bool
	Seconds                      float64
}

type place struct{ Phone, LID, Group string }

func (p place) chat() rpc.Chat {
	return rpc.Chat{Phone: rpc.Secret(p.Phone), LID: rpc.Secret(p.LID), Group: rpc.Secret(p.Group)}
}

type received struct {
	Key, ID, Name, Type, Text, Reply, Edit string
	Chat, From                             place
	Own                                    bool
	Seconds, Ack                           float64
	Media                                  struct {
		MIME, Name, Hash string
		Size             float64
	}
}

// Receive is that of rpc.Worker.
func (i *Inbox) Receive(ctx context.Context, r rpc.ReceiveQuery) (rpc.Reception, error) {
	switch {
	case len(r.Keys) > 0 && r.Errand == rpc.Fetch:
		return i.fetch(ctx, r)
	case len(r.Keys) > 0:
		return i.reread(ctx, r)
	}
	r.After = r.After[:min(len(r.After), rpc.MaxMarks)]
	a, err := i.ask(ctx, "receive", map[string]any{
		"marks": append([]rpc.Mark{}, r.After...), "since": seconds(r.Since), "limit": min(max(r.Limit, 1), rpc.MaxReceive),
	})
	if err != nil {
		return rpc.Reception{}, fmt.Errorf("cannot receive messages: %w", err)
	}
	got := rpc.Reception{
		Account: a.Account.Account(), Known: a.Known, Lost: a.Lost, More: a.More, Messages: list(a.Messages), Changed: list(a.Changed),
	}
	for _, key := range a.Reacted {
		got.Reacted = append(got.Reacted, rpc.Secret(key))
	}
	for _, m := range a.Marks {
		got.Marks = append(got.Marks, rpc.Mark{Row: int64(m.Row), Sum: m.Sum})
	}
	return got, nil
}

// reread reads messages by their keys, after an errand, or their reactions.
func (i *Inbox) reread(ctx context.Context, r rpc.ReceiveQuery) (rpc.Reception, error) {
	switch r.Errand {
	case "", rpc.MarkRead, rpc.AskPhone, rpc.ReadReactions:
	default:
		return rpc.Reception{}, errors.New("cannot read messages again: the errand is not known")
	}
	if len(r.Keys) > rpc.MaxReread {
		return rpc.Reception{}, fmt.Errorf("cannot read messages again: %d are too many", len(r.Keys))
	}
	if r.Errand == rpc.ReadReactions { // messages must not wait for long
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 2*i.o.Call)
		defer cancel()
	}
	texts := make([]string, len(r.Keys)) // a Secret would be encoded as "[redacted]"
	for n, key := range r.Keys {
		texts[n] = string(key)
	}
	a, err := i.ask(ctx, "reread", map[string]any{"keys": texts, "errand": r.Errand, "since": seconds(r.Since)})
	if err != nil {
		return rpc.Reception{}, fmt.Errorf("cannot read messages again: %w", err)
	}
	return rpc.Reception{Messages: list(a.Messages), Reactions: reactions(a.Reactions), More: a.More}, nil
}

func seconds(t time.Time) int64 { return max(t.Unix(), 0) }

func reactions(all []reaction) (found []rpc.Reaction) {
	for _, r := range all {
		found = append(found, rpc.Reaction{
			Message: rpc.Secret(r.Message), ID: r.ID, Reaction: r.Reaction, Chat: r.Chat.chat(), From: r.From.chat(), FromMe: r.Own,
			Emoji: rpc.Secret(r.Emoji), At: message.Moment(1000 * r.Seconds),
		})
	}
	return found
}

// fetch reads a part of the file of a message, as far as it has been downloaded.
func (i *Inbox) fetch(ctx context.Context, r rpc.ReceiveQuery) (rpc.Reception, error) {
	a, err := i.ask(ctx, "fetch", map[string]any{"key": string(r.Keys[0]), "offset": r.Offset, "most": r.Most, "part": rpc.MaxPart})
	if err == nil && len(a.Part) > base64.StdEncoding.EncodedLen(rpc.MaxPart) {
		err = errTooLong
	}
	var part []byte
	if err == nil {
		part, err = base64.StdEncoding.DecodeString(a.Part)
	}
	if err != nil {
		return rpc.Reception{}, fmt.Errorf("cannot fetch file: %w", err)
	}
	return rpc.Reception{Part: part, More: a.More}, nil
}

var errTooLong = errors.New("the page's answer is too long")

// hexadecimal returns a SHA-256 of the page, which has it in base64.
func hexadecimal(hash string) string {
	sum, _ := base64.StdEncoding.DecodeString(hash)
	if len(sum) != sha256.Size {
		return ""
	}
	return hex.EncodeToString(sum)
}

func list(all []received) (found []rpc.Received) {
	for _, m := range all {
		found = append(found, rpc.Received{
			Key: rpc.Secret(m.Key), ID: m.ID, Name: rpc.Secret(m.Name), FromMe: m.Own, Type: rpc.MessageType(m.Type), Text: rpc.Secret(m.Text),
			Chat: m.Chat.chat(), From: rpc.Chat{Phone: rpc.Secret(m.From.Phone), LID: rpc.Secret(m.From.LID)},
			ReplyTo: m.Reply, At: message.Moment(1000 * m.Seconds), Ack: message.Whole(m.Ack, -1, 4), Edit: m.Edit,
			Media: rpc.ReceivedMedia{
				MIME: m.Media.MIME, Size: int64(max(m.Media.Size, 0)), Name: rpc.Secret(m.Media.Name), SHA256: hexadecimal(m.Media.Hash),
			},
		})
	}
	return found
}

// ask calls a method of our object, if the page is ready.
func (i *Inbox) ask(ctx context.Context, method string, arg any) (a answer, err error) {
	if !i.o.On {
		return a, rpc.ErrNotReceiving
	}
	v := i.o.Views.Get()
	if !v.Ready() {
		return a, message.NotReady("the page is not ready")
	}
	const slow = 4 // a page of many rows takes longer than a call
	ctx, cancel := context.WithTimeout(ctx, slow*i.o.Call)
	defer cancel()
	defer context.AfterFunc(i.o.Target.Life, cancel)()
	object, err := i.tool.Object(ctx, v.Document, v.Page)
	if errors.Is(err, target.ErrStale) {
		return a, message.NotReady("the document was replaced")
	}
	if err == nil {
		deadline, _ := ctx.Deadline()
		err = object.Invoke(ctx, &a, method, arg, max(0, time.Until(deadline)-i.o.Call/2).Milliseconds())
	}
	if err != nil {
		return a, i.o.Target.Explain(err)
	}
	a.Name = cmp.Or(a.Name, a.Last)
	return a, i.o.Views.Confirm(ctx, v, i.o.Messages.Explain(a.Stopped))
}
