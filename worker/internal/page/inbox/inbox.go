// Package inbox reads the messages that have arrived from the page's own table, and reports
// when there is something to read. It keeps nothing, marks nothing as read, and does nothing
// at all unless receiving is switched on.
package inbox

import (
	"cmp"
	"context"
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
	// Emit is called with MessagesArrived.
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
	lack string          // what was missing then
}

// ledger makes what inbox.js keeps in one document.
const ledger = `({ changed: new Set(), lost: false, reading: 0, shown: 0 })`

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
	i.of, i.next = current, now.Add(every)
	if !current.Ready {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, i.o.Call)
	defer cancel()
	var answer struct{ Missing string }
	object, err := i.tool.Object(ctx, v.Document)
	if err == nil {
		err = object.Invoke(ctx, &answer, "listen")
	}
	lack := answer.Missing
	if lack != "" {
		lack = "the page's " + i.o.Messages.Function(lack) + " is missing"
	}
	if err != nil || lack != "" {
		i.next = now.Add(retry)
	}
	if err != nil && !errors.Is(err, target.ErrStale) && ctx.Err() == nil {
		lack = "the page does not answer"
	}
	if lack != i.lack {
		i.o.Log.Info(logid.ReceivingChanged, "possible", lack == "", logging.KeyDetail, lack)
	}
	i.lack = lack
}

// answer is what the page answers, in its own words. Nothing of it is trusted.
type answer struct {
	message.Stopped
	Account           string
	Known, Lost, More bool
	Marks             []struct {
		Row float64
		Sum string
	}
	Messages, Changed []received
}

type received struct {
	Key, ID, Name, Type, Text, Reply, Edit, MIME, File string
	Chat, From                                         struct{ Phone, LID, Group string }
	Own                                                bool
	Seconds, Ack, Size                                 float64
}

// Receive is that of rpc.Worker.
func (i *Inbox) Receive(ctx context.Context, r rpc.ReceiveQuery) (rpc.Reception, error) {
	if len(r.Keys) > 0 {
		return i.reread(ctx, r.Keys, r.Errand)
	}
	r.After = r.After[:min(len(r.After), rpc.MaxMarks)]
	a, err := i.ask(ctx, "receive", map[string]any{
		"marks": append([]rpc.Mark{}, r.After...), "since": max(r.Since.Unix(), 0), "limit": min(max(r.Limit, 1), rpc.MaxReceive),
	})
	if err != nil {
		return rpc.Reception{}, fmt.Errorf("cannot receive messages: %w", err)
	}
	got := rpc.Reception{
		Account: rpc.Secret(a.Account), Known: a.Known, Lost: a.Lost, More: a.More, Messages: list(a.Messages), Changed: list(a.Changed),
	}
	for _, m := range a.Marks {
		got.Marks = append(got.Marks, rpc.Mark{Row: int64(m.Row), Sum: m.Sum})
	}
	return got, nil
}

// reread reads messages by their keys, after an errand.
func (i *Inbox) reread(ctx context.Context, keys []rpc.Secret, errand rpc.Errand) (rpc.Reception, error) {
	if errand != "" && errand != rpc.MarkRead && errand != rpc.AskPhone {
		return rpc.Reception{}, errors.New("cannot read messages again: the errand is not known")
	}
	if len(keys) > rpc.MaxReread {
		return rpc.Reception{}, fmt.Errorf("cannot read messages again: %d are too many", len(keys))
	}
	texts := make([]string, len(keys)) // a Secret would be encoded as "[redacted]"
	for n, key := range keys {
		texts[n] = string(key)
	}
	a, err := i.ask(ctx, "reread", map[string]any{"keys": texts, "errand": errand})
	if err != nil {
		return rpc.Reception{}, fmt.Errorf("cannot read messages again: %w", err)
	}
	return rpc.Reception{Messages: list(a.Messages), More: a.More}, nil
}

func list(all []received) (found []rpc.Received) {
	for _, m := range all {
		found = append(found, rpc.Received{
			Key: rpc.Secret(m.Key), ID: m.ID, Name: rpc.Secret(m.Name), FromMe: m.Own, Type: rpc.MessageType(m.Type), Text: rpc.Secret(m.Text),
			Chat:    rpc.Chat{Phone: rpc.Secret(m.Chat.Phone), LID: rpc.Secret(m.Chat.LID), Group: rpc.Secret(m.Chat.Group)},
			From:    rpc.Chat{Phone: rpc.Secret(m.From.Phone), LID: rpc.Secret(m.From.LID)},
			ReplyTo: m.Reply, At: message.Moment(1000 * m.Seconds), Ack: message.Whole(m.Ack, -1, 4), Edit: m.Edit,
			Media: rpc.ReceivedMedia{MIME: m.MIME, Size: int64(max(m.Size, 0)), Name: rpc.Secret(m.File)},
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
	if !message.Ready(v) {
		return a, message.NotReady("the page is not ready")
	}
	const slow = 4 // a page of many rows takes longer than a call
	ctx, cancel := context.WithTimeout(ctx, slow*i.o.Call)
	defer cancel()
	defer context.AfterFunc(i.o.Target.Life, cancel)()
	object, err := i.tool.Object(ctx, v.Document)
	if err == nil {
		deadline, _ := ctx.Deadline()
		err = object.Invoke(ctx, &a, method, arg, max(0, time.Until(deadline)-i.o.Call/2).Milliseconds())
	}
	if err != nil {
		return a, i.o.Target.Explain(err)
	}
	a.Name = cmp.Or(a.Name, a.Last)
	return a, i.o.Messages.Explain(a.Stopped)
}
