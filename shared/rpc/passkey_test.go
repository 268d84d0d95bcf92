package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestPasskeyCrossesTheWireWithinBounds(t *testing.T) {
	want := PasskeyCommand{Action: PasskeyAnswer, Assertion: "{}"}
	var got PasskeyCommand
	answer, failure := PasskeyCall{Options: "{}", TTL: time.Minute}, error(nil)
	c := dial(t, fake{passkey: func(_ context.Context, c PasskeyCommand) (PasskeyCall, error) {
		got = c
		return answer, failure
	}})
	if call, err := c.Passkey(t.Context(), want); err != nil || call != answer || got != want {
		t.Errorf("got %+v, %v", call, err)
	}
	answer = PasskeyCall{Options: Secret(strings.Repeat("x", MaxPasskeyOptions+1)), TTL: 20 * time.Hour}
	if call, err := c.Passkey(t.Context(), want); err != nil || call.Options != "" || call.TTL != maxPasskeyLife {
		t.Errorf("got %d bytes for %v, %v", len(call.Options), call.TTL, err)
	}
	for code := range passkeyErrors {
		failure = fmt.Errorf("x: %w", &PasskeyError{code})
		_, err := c.Passkey(t.Context(), want)
		if e, ok := errors.AsType[*PasskeyError](err); !ok || e.Code != code {
			t.Errorf("%s became %v", code, err)
		}
	}
	failure = &PasskeyError{"unheard_of"}
	if _, err := c.Passkey(t.Context(), want); err == nil || errors.As(err, new(*PasskeyError)) {
		t.Errorf("got %v", err)
	}
}

func TestPasskeyChangeOfAHostileWorkerIsBounded(t *testing.T) {
	for _, p := range []PasskeyChanged{
		{Stage: "unheard_of", Code: "not a code", Reason: "because", TTL: -1, HandoffTTL: 20 * time.Hour},
		{Stage: PasskeyStage(strings.Repeat("x", 1<<20)), Code: Secret(strings.Repeat("A", 1<<20))},
	} {
		got := bounded(Event{Body: p}).Body.(PasskeyChanged)
		if got.Stage != "" || got.Code != "" || got.Reason != "" || got.TTL != 0 || got.HandoffTTL > maxPasskeyLife {
			t.Errorf("got %+v", got)
		}
	}
}
