// Package message sends messages through the page's own functions, looks them up in the
// page's table, and reports whether the page can send. The id of a message is ours, and
// is the page's own id of it, so that after every doubt the table is asked for it.
package message

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"session-manager/shared/rpc"
	"session-manager/worker/internal/page/observe"
	"session-manager/worker/internal/page/target"
)

// margin is what is left of the time for a command when the page must have answered.
const margin = time.Second

// phoneNumber is E.164 without its plus.
var phoneNumber = regexp.MustCompile(`^[1-9][0-9]{6,14}$`)

// Options are what Messages works with.
type Options struct {
	Target *target.Target
	Views  *observe.Latest
	// News receives when there are news to fetch.
	News <-chan struct{}
	// Emit is called with MessageChanged and SendingObserved.
	Emit func(rpc.EventBody)
	Log  *slog.Logger
	// Answer is how long the page may take for one command, with its server, and Call how
	// long for what it has at hand.
	Answer, Call time.Duration
	// Unreadable is for how long the page's messages may be unreadable.
	Unreadable time.Duration
}

// mostUploads is how many files are uploaded at once.
const mostUploads = 4

// Messages sends messages and looks them up. It is safe for concurrent use.
type Messages struct {
	o       Options
	turn    chan struct{} // holds one token, of the Send under way
	uploads chan struct{} // holds a token for each upload under way

	tool *target.Tool

	observed chan struct{} // receives when there is another view
	reports  reports
	// Stuck receives when the page's messages could not be read for Options.Unreadable, so that
	// only another life of the page may help.
	Stuck chan struct{}
	// challenged is true while WhatsApp asks the account's owner for a passkey.
	challenged atomic.Bool
}

// Challenged reports whether WhatsApp asks the owner of the linked account for a passkey,
// as far as is known.
func (m *Messages) Challenged() bool { return m.challenged.Load() }

// ledger makes what message.js keeps in one document.
const ledger = `({ sent: new Map(), news: new Map(), files: new Map() })`

// New returns the Messages of a page. Run reports on it.
func New(o Options) *Messages {
	return &Messages{
		o: o, turn: make(chan struct{}, 1), uploads: make(chan struct{}, mostUploads), observed: make(chan struct{}, 1), Stuck: make(chan struct{}, 1),
		tool:    target.NewTool(o.Target, ledger, func(s *target.Scripts) string { return s.Message }),
		reports: reports{pace: rate.NewLimiter(hintRate, hintBurst)},
	}
}

// NotReady is the answer of a page that can't be asked.
func NotReady(why string) error { return &rpc.SendError{Code: rpc.SendNotReady, Detail: why} }

// Send is that of rpc.Worker.
func (m *Messages) Send(ctx context.Context, msg rpc.Message) (rpc.MessageState, error) {
	if err := validate(msg); err != nil {
		return rpc.MessageState{}, err
	}
	if err := m.upload(ctx, msg); err != nil {
		return rpc.MessageState{}, err
	}
	ctx, cancel := m.bound(ctx, m.o.Answer)
	defer cancel()
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return rpc.MessageState{}, NotReady("another message takes too long")
	}
	a, err := m.ask(ctx, "send", argument(msg))
	if err == nil && (a.State == nil || a.State.ID != string(msg.ID) || !a.State.Stored) {
		err = errOther
	}
	if err != nil {
		return rpc.MessageState{}, err
	}
	return a.State.state(), nil
}

// argument is a message as our object in the page takes it.
func argument(msg rpc.Message) map[string]any {
	mentions := make([]string, len(msg.Mentions)) // a Secret would be encoded as "[redacted]"
	for i, mention := range msg.Mentions {
		mentions[i] = string(mention)
	}
	arg := map[string]any{
		"id": msg.ID, "to": string(msg.To), "text": string(msg.Text), "replyTo": msg.ReplyTo, "mentions": mentions, "preview": msg.Preview,
		"act": msg.Act, "target": msg.Target, "again": msg.Again,
	}
	if f := msg.Media; f != (rpc.Media{}) {
		arg["media"] = map[string]any{"kind": f.Kind, "mime": f.MIME, "name": string(f.Name), "size": f.Size}
	}
	return arg
}

// upload has the page upload the file of a message, if it has one. Meanwhile others may be
// sent. Every error means that nothing was sent, so it is a *rpc.SendError.
func (m *Messages) upload(ctx context.Context, msg rpc.Message) error {
	if msg.Media == (rpc.Media{}) {
		return nil
	}
	ctx, cancel := m.bound(ctx, msg.Media.UploadTime())
	defer cancel()
	select {
	case m.uploads <- struct{}{}:
		defer func() { <-m.uploads }()
	case <-ctx.Done():
		return NotReady("other uploads take too long")
	}
	err := m.handOver(ctx, msg)
	if err == nil {
		_, err = m.ask(ctx, "upload", argument(msg))
	}
	_, certain := errors.AsType[*rpc.SendError](err)
	switch {
	case err == nil || certain:
		return err
	case ctx.Err() != nil && m.o.Target.Life.Err() == nil:
		return &rpc.SendError{Code: rpc.SendMediaFailed, Detail: "the upload took too long"}
	}
	return NotReady("the page was lost during the upload")
}

// handOver gives the page the file of a message, in an element that is in no document.
func (m *Messages) handOver(ctx context.Context, msg rpc.Message) error {
	v := m.o.Views.Get()
	if !v.Ready() {
		return NotReady("the page is not ready")
	}
	object, err := m.object(ctx, v)
	if err != nil {
		return err
	}
	input, err := object.Derive(ctx, fmt.Sprintf("function () { return this.input(%q); }", msg.ID))
	if err != nil {
		return err
	}
	if input == nil {
		return target.ErrScript
	}
	defer input.Release(context.WithoutCancel(ctx))
	return input.SetFile(ctx, msg.Media.Path)
}

var errOther = errors.New("the page gave no usable answer")

// validate refuses what the supervisor should have refused.
func validate(msg rpc.Message) error {
	switch {
	case msg.ReplyTo != "" && !rpc.ValidTarget(msg.ReplyTo):
		return &rpc.SendError{Code: rpc.SendReplyNotFound}
	case msg.Act != "" && !rpc.ValidTarget(msg.Target):
		return &rpc.SendError{Code: rpc.SendMessageNotFound}
	case !msg.Valid(), msg.Media != (rpc.Media{}) && !filepath.IsAbs(msg.Media.Path):
		return &rpc.SendError{Code: rpc.SendInvalid}
	}
	return nil
}

// Lookup is that of rpc.Worker.
func (m *Messages) Lookup(ctx context.Context, refs []rpc.MessageRef) ([]rpc.MessageState, error) {
	if len(refs) > rpc.MaxLookup {
		return nil, fmt.Errorf("%d messages are too many", len(refs))
	}
	ctx, cancel := m.bound(ctx, m.o.Answer)
	defer cancel()
	type ref struct {
		ID    rpc.MessageID `json:"id"`
		Phone string        `json:"phone"`
		LID   string        `json:"lid"`
		Group string        `json:"group"`
	}
	wanted := make([]ref, len(refs))
	for i, r := range refs {
		wanted[i] = ref{r.ID, valid(string(r.Chat.Phone)), valid(string(r.Chat.LID)), valid(string(r.Chat.Group))}
	}
	a, err := m.ask(ctx, "lookup", wanted)
	if err == nil && len(a.States) != len(refs) {
		err = errOther
	}
	states := make([]rpc.MessageState, len(refs))
	for i := range a.States {
		if err == nil && a.States[i].ID != string(refs[i].ID) {
			err = errOther
		}
		if err == nil {
			states[i] = a.States[i].state()
		}
	}
	if err != nil {
		return nil, err
	}
	return states, nil
}

// Contact is that of rpc.Worker.
func (m *Messages) Contact(ctx context.Context, phone rpc.Secret) (rpc.Contact, error) {
	address := string(phone)
	switch {
	case phoneNumber.MatchString(address):
		address += rpc.ServerPhone
	case !rpc.ValidAddress(phone) || rpc.ChatAt(phone).LID == "":
		return rpc.Contact{}, &rpc.SendError{Code: rpc.SendInvalid, Detail: "that is neither a phone number nor a LID"}
	}
	ctx, cancel := m.bound(ctx, m.o.Answer)
	defer cancel()
	a, err := m.ask(ctx, "contact", address)
	if err == nil && a.Contact == nil {
		err = errOther
	}
	if err != nil {
		return rpc.Contact{}, err
	}
	c := a.Contact
	return rpc.Contact{
		OnWhatsApp: c.OnWhatsApp, Phone: rpc.Secret(valid(c.Phone)), LID: rpc.Secret(valid(c.LID)), Business: c.Business, KnownChat: c.KnownChat,
	}, nil
}

// bound limits one command, to which the page answers in this time.
func (m *Messages) bound(ctx context.Context, answer time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, answer+margin)
	release := context.AfterFunc(m.o.Target.Life, cancel)
	return ctx, func() {
		release()
		cancel()
	}
}

// ask calls a method of our object with arg and the time that the page may take, if the
// page is ready. An error that is not a *rpc.SendError proves nothing.
func (m *Messages) ask(ctx context.Context, method string, arg any) (a answer, err error) {
	v := m.o.Views.Get()
	if !v.Ready() {
		return a, NotReady("the page is not ready")
	}
	object, err := m.object(ctx, v)
	if errors.Is(err, target.ErrStale) {
		return a, NotReady("the document was replaced")
	}
	if err != nil {
		return a, m.o.Target.Explain(err)
	}
	deadline, _ := ctx.Deadline() // bound has set one
	left := time.Until(deadline) - margin
	if left <= 0 {
		return a, NotReady("there is no time left")
	}
	if err := object.Invoke(ctx, &a, method, arg, left.Milliseconds()); err != nil {
		return a, m.o.Target.Explain(err)
	}
	return a, m.o.Views.Confirm(ctx, v, m.Explain(a.Stopped))
}

// Explain returns the error for what has stopped a command in the page.
func (m *Messages) Explain(a Stopped) error {
	function := m.Function(cmp.Or(a.Name, a.Last))
	switch code := rpc.SendCode(a.Code); code {
	case "":
		return nil
	case rpc.SendPagePathGone:
		return &rpc.SendError{Code: code, Detail: "the page's " + function + " is missing, or has changed"}
	case rpc.SendLookupFailed, "late":
		return &rpc.SendError{Code: rpc.SendLookupFailed, Detail: "the page's " + function + " failed, or took too long"}
	case rpc.SendMediaFailed:
		return &rpc.SendError{Code: code, Detail: "the page's " + function + " failed, or took too long"}
	case rpc.SendMediaTooLarge, rpc.SendMediaGone, rpc.SendNotOnWhatsApp, rpc.SendBlockedContact, rpc.SendGroupNotWritable, rpc.SendReplyNotFound, rpc.SendNotReady,
		rpc.SendMessageNotFound, rpc.SendEditTooLate, rpc.SendRevokeTooLate, rpc.SendNotEditable, rpc.SendNotRevocable:
		return &rpc.SendError{Code: code}
	case rpc.SendNewChatsRestricted, rpc.SendNewChatsCapped:
		return &rpc.SendError{Code: code, Until: Moment(a.Until)}
	}
	return fmt.Errorf("it is not known whether it was stored: the page's %s failed, or took too long", function)
}

// Function names what the selectors file has under a name.
func (m *Messages) Function(name string) string {
	scripts := m.o.Target.Scripts.Load()
	source, ok := scripts.Sending.Functions[name]
	if !ok {
		source, ok = scripts.Receiving.Functions[name]
	}
	if !ok || len(source.From) == 0 {
		return "modules"
	}
	return strings.TrimSuffix(source.From[0].Module+"."+source.From[0].Path, ".")
}

// object returns our object in the document of a view, after it has been put there if need
// be.
func (m *Messages) object(ctx context.Context, v observe.View) (*target.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, m.o.Call)
	defer cancel()
	return m.tool.Object(ctx, v.Document, v.Page)
}

// Stopped is why a command was stopped in the page: Code, at the function Name or Last of the
// selectors file.
type Stopped struct {
	Code, Name, Last string
	Until            float64 // in milliseconds since 1970
}

// answer is what the page answers, in its own words. Nothing of it is trusted.
type answer struct {
	Stopped
	State   *state
	States  []state
	Contact *contact
}

type state struct {
	ID, Phone, LID, Group string
	Stored, Pending       bool
	Ack, Refusal          float64
	Seconds               float64 // since 1970
}

type contact struct {
	OnWhatsApp, Business, KnownChat bool
	Phone, LID                      string
}

func (s state) state() rpc.MessageState {
	if !s.Stored {
		return rpc.MessageState{ID: rpc.MessageID(s.ID)}
	}
	return rpc.MessageState{
		ID: rpc.MessageID(s.ID), Stored: true, Pending: s.Pending,
		Chat: rpc.Chat{Phone: rpc.Secret(valid(s.Phone)), LID: rpc.Secret(valid(s.LID)), Group: rpc.Secret(valid(s.Group))},
		Ack:  Whole(s.Ack, -1, 4), Refusal: Whole(s.Refusal, 0, mostRefusal), At: Moment(1000 * s.Seconds),
	}
}

// mostRefusal is more than any code of the server's.
const mostRefusal = 9999

// Whole returns a number of the page's as one from low to high.
func Whole(f float64, low, high int) int {
	if !(f >= float64(low)) { // not a number, too
		return low
	}
	return int(min(f, float64(high)))
}

// Moment returns the time at so many milliseconds, and none for what can't be one.
func Moment(ms float64) time.Time {
	const latest = 4_102_444_800_000 // the year 2100
	if !(ms > 0 && ms < latest) {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}

// valid returns an address of the page, or nothing.
func valid(address string) string {
	if !rpc.ValidAddress(rpc.Secret(address)) {
		return ""
	}
	return address
}
