package rpc

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
)

const anID = MessageID("3EB00123456789ABCDEF01")

var aTime = time.UnixMilli(1_790_000_000_123).UTC()

func TestMessageIDsAndAddressesAreValidated(t *testing.T) {
	for id, want := range map[MessageID]bool{
		anID: true, "": false, anID + "0": false, "3EB00123456789abcdef01": false, "BAE5123456789ABCDEF012": false,
		anID + "\n": false, "x" + anID: false,
	} {
		if id.Valid() != want {
			t.Errorf("%q: valid is %v", string(id), !want)
		}
	}
	for address, want := range map[Secret]bool{
		"4915112345678@c.us": true, "998877@lid": true, "120363041234567890@g.us": true, "4915112345678-1500000000@g.us": true,
		"": false, "@c.us": false, "4915112345678": false, "4915112345678@s.whatsapp.net": false, "1-2@c.us": false,
		"status@broadcast": false, "49151@c.us ": false, "١٢٣@c.us": false, "1@lid\n": false, Secret(strings.Repeat("1", 25) + "@c.us"): false,
	} {
		if ValidAddress(address) != want {
			t.Errorf("%q: valid is %v", string(address), !want)
		}
	}
}

func TestMessagesCrossTheWire(t *testing.T) {
	sent := Message{ID: anID, To: "4915112345678@c.us", Text: "hello", ReplyTo: "ABC", Mentions: []Secret{"1@lid"}, Preview: true,
		Media: Media{Path: "/tokens/admin.media/x", Kind: MediaDocument, MIME: "application/pdf", Name: "offer.pdf", Size: 1 << 31}}
	sent.Act, sent.Target, sent.Again = ActEdit, "3A00", true
	sent.Typed = aTime
	chat := Chat{Phone: "4915112345678@c.us", LID: "1@lid"}
	state := MessageState{ID: anID, Chat: chat, Stored: true, Ack: 3, Refusal: 7, Pending: true, At: aTime, Row: "3EB00123456789ABCDEF03"}
	missing := MessageState{ID: "3EB00123456789ABCDEF02"}
	refs := []MessageRef{{ID: anID, Chat: chat}, {ID: missing.ID, Chat: ChatAt("12-34@g.us")}}
	contact := Contact{OnWhatsApp: true, Phone: "4915112345678@c.us", LID: "1@lid", Business: true, KnownChat: true}
	var gotMessage Message
	var gotRefs []MessageRef
	var gotPhone Secret
	c := dial(t, fake{
		send: func(_ context.Context, m Message) (MessageState, error) { gotMessage = m; return state, nil },
		lookup: func(_ context.Context, r []MessageRef) ([]MessageState, error) {
			gotRefs = r
			return []MessageState{state, missing}, nil
		},
		contact: func(_ context.Context, p Secret) (Contact, error) { gotPhone = p; return contact, nil },
	})
	gotState, err := c.Send(t.Context(), sent)
	if err != nil {
		t.Fatal(err)
	}
	gotStates, err := c.Lookup(t.Context(), refs)
	if err != nil {
		t.Fatal(err)
	}
	gotContact, err := c.Contact(t.Context(), "4915112345678")
	if err != nil || gotPhone != "4915112345678" {
		t.Fatal(err)
	}
	type all struct {
		Message Message
		State   MessageState
		Refs    []MessageRef
		States  []MessageState
		Contact Contact
	}
	want, got := all{sent, state, refs, []MessageState{state, missing}, contact}, all{gotMessage, gotState, gotRefs, gotStates, gotContact}
	if !reflect.DeepEqual(want, got) {
		t.Error("something changed on the wire") // cmp would not show secrets either
	}
}

func TestSendErrorsKeepTheirFields(t *testing.T) {
	var answer error
	c := dial(t, fake{send: func(context.Context, Message) (MessageState, error) { return MessageState{}, answer }})
	for code := range sendCodes {
		want := &SendError{Code: code, Until: aTime, Detail: "the detail"}
		answer = fmt.Errorf("cannot send: %w", want)
		_, err := c.Send(t.Context(), Message{ID: anID})
		got, _ := errors.AsType[*SendError](err)
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	answer = &SendError{Code: SendNotReady}
	if got, ok := errors.AsType[*SendError](sendBy(c)); !ok || *got != (SendError{Code: SendNotReady}) {
		t.Errorf("got %v", got)
	}
	answer = &SendError{Code: "unheard_of"}
	if _, ok := errors.AsType[*SendError](sendBy(c)); ok {
		t.Error("a code that is not known means that nothing was sent")
	}
	answer = context.DeadlineExceeded
	if err := sendBy(c); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func sendBy(c *Client) error {
	_, err := c.Send(context.Background(), Message{ID: anID})
	return err
}

func TestAnswersForOtherMessagesAreRefused(t *testing.T) {
	var state MessageState
	c := dial(t, fake{
		send:   func(context.Context, Message) (MessageState, error) { return state, nil },
		lookup: func(context.Context, []MessageRef) ([]MessageState, error) { return []MessageState{state}, nil },
	})
	one := []MessageRef{{ID: anID}}
	for name, s := range map[string]MessageState{
		"not stored": {ID: anID}, "another": {ID: "3EB00123456789ABCDEF02", Stored: true}, "no id": {ID: "3EB0", Stored: true},
	} {
		state = s
		if err := sendBy(c); !errors.Is(err, errOtherAnswer) {
			t.Errorf("%s: Send() = %v", name, err)
		}
		if _, err := c.Lookup(t.Context(), one); errors.Is(err, errOtherAnswer) == (name == "not stored") {
			t.Errorf("%s: Lookup() = %v", name, err)
		}
	}
	if _, err := c.Lookup(t.Context(), append(one, one...)); !errors.Is(err, errOtherAnswer) {
		t.Errorf("one state for two: %v", err)
	}
}

func TestStatesAndContactsAreBounded(t *testing.T) {
	huge := Secret(strings.Repeat("1", 1<<16) + "@c.us")
	wild := MessageState{
		ID: MessageID(huge), Chat: Chat{Phone: "1@lid", LID: huge, Group: "1@g.us"}, Ack: 5, Refusal: 1 << 30, At: aTime.AddDate(500, 0, 0),
	}
	if got, want := stateFromProto(stateToProto(wild)), (MessageState{Chat: Chat{Group: "1@g.us"}, Ack: 4, Refusal: maxRefusal}); got != want {
		t.Errorf("a state became %+v", got)
	}
	if got := (Contact{OnWhatsApp: true, Phone: huge, LID: "1@c.us"}).bounded(); got != (Contact{OnWhatsApp: true}) {
		t.Errorf("a contact became %+v", got)
	}
	long := strings.Repeat("x", 2*maxText)
	e := sendError(&errdetails.ErrorInfo{Reason: sendFailed, Metadata: map[string]string{
		"code": string(SendLookupFailed), "until": "99999999999999999999", "detail": long,
	}})
	if got, ok := errors.AsType[*SendError](e); !ok || len(got.Detail) >= len(long) || !got.Until.IsZero() {
		t.Errorf("an error has %d bytes and %v", len(got.Detail), got.Until)
	}
	changed := bounded(Event{Body: MessageChanged{ID: "x", Ack: -6, Refusal: -1}}).Body
	if changed != (MessageChanged{Ack: -1}) {
		t.Errorf("a change became %+v", changed)
	}
}

func TestAccountsAreTheSameByAnyAddress(t *testing.T) {
	for _, tc := range []struct {
		a, b      Account
		is, other bool
	}{
		{Account{}, Account{}, false, false},
		{AccountAt("1@c.us"), Account{}, false, false},
		{AccountAt("1@c.us"), AccountAt("1@c.us"), true, false},
		{AccountAt("1@c.us"), AccountAt("2@c.us"), false, true},
		{AccountAt("1@lid"), AccountAt("2@lid"), false, true},
		{AccountAt("1@c.us"), AccountAt("1@lid"), false, false},
		{AccountAt("1@c.us", "9@lid"), AccountAt("9@lid"), true, false},
		{AccountAt("1@c.us", "9@lid"), AccountAt("2@c.us"), false, true},
		{AccountAt("1@c.us", "9@lid"), AccountAt("2@c.us", "9@lid"), true, false},
		{AccountAt("1@c.us", "9@lid"), AccountAt("1@c.us", "8@lid"), true, false},
		{AccountAt("1@c.us", "9@lid"), AccountAt("2@c.us", "8@lid"), false, true},
	} {
		for _, pair := range [][2]Account{{tc.a, tc.b}, {tc.b, tc.a}} {
			if is, other := pair[0].Is(pair[1]), pair[0].Other(pair[1]); is != tc.is || other != tc.other {
				t.Errorf("%q, %q: the same %t, another %t", pair[0], pair[1], is, other)
			}
		}
	}
	if a := AccountAt("9@lid", "", "1@c.us"); a != (Account{"1@c.us", "9@lid"}) || a.Address() != "1@c.us" || a.Alias("1@c.us") != "9@lid" || a.Alias("9@lid") != "1@c.us" || AccountNamed(a.Names()) != a {
		t.Errorf("got %q", a)
	}
}
