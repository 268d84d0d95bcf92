package rpc

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"session-manager/shared/logging"
	"session-manager/shared/reason"
	"session-manager/shared/rpc/workerpb"
)

// The worker shows a stranger's page, so a Client passes on nothing of unlimited size,
// number or rate. All of these bounds are here. Sizes are in bytes.
const (
	// What a message and its headers may have. gRPC refuses a larger one before it is
	// read. The largest events are a Failure's, with Chrome's last lines.
	maxMessage    = 1 << 20
	maxScreenshot = 16 << 20
	maxHeaders    = 64 << 10
	// maxName bounds the names of things, maxText what people read, and maxOutline the
	// outline of a page, which has 64 kB and a last line.
	maxName    = 64
	maxText    = 2 << 10
	maxLine    = 4 << 10
	maxOutline = 72 << 10
	// maxLines bounds lists of lines, and maxReaders that of readers.
	maxLines   = 200
	maxReaders = 16
	// maxPID is the largest process number of Linux (PID_MAX_LIMIT), maxResident more
	// memory than a machine has, and maxCount more than there is of anything else.
	maxPID      = 1 << 22
	maxResident = 1 << 50
	maxCount    = 1 << 20
	// A QR of WhatsApp's lives for a minute at most, and a pairing code for three.
	maxQRLife      = 5 * time.Minute
	maxPairingLife = 10 * time.Minute
	maxWaited      = time.Hour
	maxPasskeyLife = time.Hour
	// maxRefusal bounds the codes of WhatsApp's server, which have three digits, and
	// latest the times of the page: the year 2100.
	maxRefusal = 9999
	latest     = 4_102_444_800_000
)

// MaxPasskeyOptions and MaxAssertion are the lengths of the longest request for a passkey
// and of the longest answer that are carried. WhatsApp's request has at most 4096 bytes, and
// about 200; an answer has about 1 kB.
const (
	MaxPasskeyOptions = 8 << 10
	MaxAssertion      = 16 << 10
)

// EventRate is how many events a worker may send in a second for as long as it runs, and
// EventBurst how many at once: what a supervisor that was stopped for minutes finds
// waiting. By Cost some events count as several.
const (
	EventRate  = 20
	EventBurst = 1000
)

// costOfQR makes up for the drawing of a code, and bytesPerCost for large events.
const (
	costOfQR     = 5
	bytesPerCost = 4 << 10
)

// Cost is how many events body counts as.
func Cost(body EventBody) int {
	if _, ok := body.(QRShown); ok {
		return costOfQR
	}
	return 1
}

// budget is what a worker may still send.
type budget struct{ *rate.Limiter }

func newBudget() budget { return budget{rate.NewLimiter(EventRate, EventBurst)} }

// spend returns ErrFlooded if e, which arrived as m, is more than the worker may send at now.
func (b budget) spend(e Event, m *workerpb.Event, now time.Time) error {
	if b.AllowN(now, Cost(e.Body)+proto.Size(m)/bytesPerCost) {
		return nil
	}
	return fmt.Errorf("%w: more than %d events at once and then %d a second", ErrFlooded, EventBurst, EventRate)
}

// window is how many bytes one side may send before the other has taken them. Where it is not set, gRPC adapts
// it up to 16 MB, for which it sends a ping with every message (internal/transport/bdp_estimator.go).
const window = 1 << 20

// dialBounds bounds every call of a worker's connection, go-plugin's own included, which
// would otherwise accept messages of 2 GB.
func dialBounds() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)), grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window),
	}
}

// bounded returns e with nothing in it that exceeds its bound.
func bounded(e Event) Event {
	e.Waited = min(max(e.Waited, 0), maxWaited)
	switch b := e.Body.(type) {
	case PhaseChanged:
		b.Phase = name(b.Phase)
		e.Body = b
	case BrowserStarted:
		b.PID, b.Product, b.UserAgent = clamp(b.PID, 0, maxPID), text(b.Product, maxText), text(b.UserAgent, maxText)
		e.Body = b
	case PageObserved:
		b.Condition, b.Reason, b.Detail = name(b.Condition), known(b.Reason), text(b.Detail, maxText)
		b.Progress, b.PageVersion = clamp(b.Progress, -1, 100), name(b.PageVersion)
		e.Body = b
	case QRShown:
		if len(b.Payload) > MaxQRPayload {
			b.Payload = "" // half of one would be another one
		}
		b.Reader, b.TTL, b.Renewals = name(b.Reader), min(max(b.TTL, 0), maxQRLife), min(b.Renewals, maxCount)
		e.Body = b
	case QRGone:
		b.Cause = name(b.Cause)
		e.Body = b
	case Heartbeat:
		b.ResidentBytes = min(b.ResidentBytes, maxResident)
		e.Body = b
	case Failure:
		b.Reason, b.Detail = known(b.Reason), text(b.Detail, maxText)
		b.ChromeStderr = lastLines(b.ChromeStderr)
		e.Body = b
	case BrowserExited:
		b.Exit = text(b.Exit, maxText)
		e.Body = b
	case BackupChecked:
		b.Outcome, b.Detail, b.Databases = name(b.Outcome), text(b.Detail, maxText), clamp(b.Databases, 0, maxCount)
		e.Body = b
	case PasskeyChanged:
		e.Body = b.bounded()
	default:
		e.Body = boundedMessage(b)
	}
	return e
}

// bounded forgets a stage, a reason and a code that are not known.
func (p PasskeyChanged) bounded() PasskeyChanged {
	if !passkeyStages[p.Stage] {
		p.Stage = ""
	}
	if !passkeyReasons[p.Reason] {
		p.Reason = ""
	}
	if !ValidComparison(p.Code) {
		p.Code = ""
	}
	p.TTL, p.HandoffTTL = min(max(p.TTL, 0), maxPasskeyLife), min(max(p.HandoffTTL, 0), maxPasskeyLife)
	return p
}

// bounded makes options that are too long empty, since a part of them is of no use.
func (c PasskeyCall) bounded() PasskeyCall {
	if len(c.Options) > MaxPasskeyOptions {
		c.Options = ""
	}
	c.TTL = min(max(c.TTL, 0), maxPasskeyLife)
	return c
}

// boundedMessage is bounded for what is about messages.
func boundedMessage(body EventBody) EventBody {
	switch b := body.(type) {
	case MessageChanged:
		if !b.ID.Valid() {
			b.ID = ""
		}
		b.Ack, b.Refusal = ack(b.Ack), clamp(b.Refusal, 0, maxRefusal)
		return b
	case ReceivingObserved:
		b.Why = text(b.Why, maxText)
		return b
	case SendingObserved:
		b.Why = text(b.Why, maxText)
		b.Account = b.Account.bounded()
		b.NewChats.Used, b.NewChats.Quota = clamp(b.NewChats.Used, 0, maxCount), clamp(b.NewChats.Quota, 0, maxCount)
		return b
	}
	return body
}

// bounded makes addresses empty that are not valid.
func (c Chat) bounded() Chat {
	return Chat{Phone: addressAt(c.Phone, ServerPhone), LID: addressAt(c.LID, ServerLID), Group: addressAt(c.Group, ServerGroup)}
}

func (s MessageState) bounded() MessageState {
	if !s.ID.Valid() {
		s.ID = ""
	}
	if !s.Row.Valid() {
		s.Row = ""
	}
	s.Chat, s.Ack, s.Refusal = s.Chat.bounded(), ack(s.Ack), clamp(s.Refusal, 0, maxRefusal)
	return s
}

func (c Contact) bounded() Contact {
	c.Phone, c.LID = addressAt(c.Phone, ServerPhone), addressAt(c.LID, ServerLID)
	return c
}

// received bounds of messages: keys, ids, names of people and files, and sizes.
const (
	maxKey      = 300
	maxTitle    = 1 << 10
	maxFileSize = 1 << 40
	// maxReceivedText is 65,536 characters of the page, which have three bytes at most.
	maxReceivedText = 3 * 65_536
	maxReaction     = 3 * 64
)

func (r Reception) bounded() Reception {
	r.Account = r.Account.bounded()
	r.Marks = r.Marks[:min(len(r.Marks), MaxMarks)]
	for i, m := range r.Marks {
		r.Marks[i] = Mark{m.Row, name(m.Sum)}
	}
	r.Messages = r.Messages[:min(len(r.Messages), MaxReceive)]
	r.Changed = r.Changed[:min(len(r.Changed), MaxReceive)]
	r.Reactions = r.Reactions[:min(len(r.Reactions), MaxReactions)]
	r.Reacted = slices.DeleteFunc(r.Reacted[:min(len(r.Reacted), MaxReread)], func(key Secret) bool { return len(key) == 0 || len(key) > maxKey })
	r.Part = r.Part[:min(len(r.Part), MaxPart)]
	return r
}

// bounded returns false for what can't be a reaction to a message of a chat.
func (r Reaction) bounded() (Reaction, bool) {
	r.Chat, r.From = r.Chat.bounded(), r.From.bounded()
	if len(r.Message) == 0 || len(r.Message) > maxKey || r.Reaction == "" || r.Chat == (Chat{}) {
		return Reaction{}, false
	}
	r.ID, r.Reaction = target(r.ID), name(r.Reaction)
	r.Emoji = Secret(text(string(r.Emoji), maxReaction))
	return r, true
}

var sha256Sum = regexp.MustCompile(`^[0-9a-f]{64}$`)

// target returns the id of a message, or nothing if it is not one that can be referred to: its sender
// chooses it.
func target(id string) string {
	if !ValidTarget(id) {
		return ""
	}
	return id
}

// bounded returns false for what can't be a message of a chat.
func (m Received) bounded() (Received, bool) {
	m.Chat, m.From = m.Chat.bounded(), m.From.bounded()
	if len(m.Key) == 0 || len(m.Key) > maxKey || m.Chat == (Chat{}) {
		return Received{}, false
	}
	m.ID, m.ReplyTo = target(m.ID), target(m.ReplyTo)
	m.Name, m.Type, m.Ack, m.Edit = Secret(text(string(m.Name), maxTitle)), name(m.Type), ack(m.Ack), name(m.Edit)
	m.Text = Secret(text(string(m.Text), maxReceivedText))
	f := &m.Media
	f.MIME, f.Size, f.Name = text(f.MIME, maxTitle), min(max(f.Size, 0), maxFileSize), Secret(text(string(f.Name), maxTitle))
	if !sha256Sum.MatchString(f.SHA256) {
		f.SHA256 = ""
	}
	return m, true
}

// addressAt returns s, or nothing if it is not a valid address of this server.
func addressAt(s Secret, server string) Secret {
	if !ValidAddress(s) || !strings.HasSuffix(string(s), server) {
		return ""
	}
	return s
}

// ack returns one of the levels that MessageState documents. The page has others, for
// kinds of failures and for messages to our own devices.
func ack(n int) int { return clamp(n, -1, 4) }

func (d Diagnosis) bounded() Diagnosis {
	d.URL, d.PageVersion, d.UserAgent = text(d.URL, maxText), name(d.PageVersion), text(d.UserAgent, maxText)
	d.Outline, d.Console = text(d.Outline, maxOutline), lastLines(d.Console)
	d.Readers = d.Readers[:min(len(d.Readers), maxReaders)]
	for i, r := range d.Readers {
		d.Readers[i] = ReaderView{name(r.Reader), text(r.Saw, maxText)}
	}
	return d
}

// bounded makes a code that is too long empty, since half of one is of no use.
func (p Pairing) bounded() Pairing {
	if len(p.Code) > maxName {
		p.Code = ""
	}
	p.TTL = min(max(p.TTL, 0), maxPairingLife)
	return p
}

// text returns s, or a copy of its beginning, so that the rest of the message is freed.
func text(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.Clone(logging.Truncate(s, n))
}

func name[T ~string](s T) T { return T(text(string(s), maxName)) }

// known returns c, or nothing if the catalogue does not have it: reasons are labels of
// metrics, which are kept for ever.
func known(c reason.Code) reason.Code {
	if !reason.Known(c) {
		return ""
	}
	return c
}

func lastLines(lines []string) []string {
	lines = lines[max(0, len(lines)-maxLines):]
	for i, line := range lines {
		lines[i] = text(line, maxLine)
	}
	return lines
}

func clamp(n, low, high int) int { return min(max(n, low), high) }

// milliseconds returns a duration that was sent as a number of milliseconds, and a day
// for what is longer, where time.Duration would overflow.
func milliseconds(n int64) time.Duration {
	const most = int64(24 * time.Hour / time.Millisecond)
	return time.Duration(min(max(n, -most), most)) * time.Millisecond
}

// moment returns a time that was sent as milliseconds since 1970, and none for 0 and for
// what can't be one.
func moment(n int64) time.Time {
	if n <= 0 || n > latest {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

// sinceEpoch is the opposite of moment.
func sinceEpoch(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
