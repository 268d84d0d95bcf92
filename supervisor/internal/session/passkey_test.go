package session

import (
	"testing"
	"time"

	"session-manager/shared/rpc"
)

func TestPasskeyFollowsWhatThePageReports(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	stage := func(s rpc.PasskeyStage, reason rpc.PasskeyReason) passkeyEvent {
		return passkeyEvent{changed: &rpc.PasskeyChanged{Stage: s, Reason: reason, TTL: 10 * time.Minute, HandoffTTL: 5 * time.Minute}}
	}
	is := func(status PasskeyStatus, purpose PasskeyPurpose, reason rpc.PasskeyReason) Passkey {
		return Passkey{Status: status, Purpose: purpose, Reason: reason}
	}
	linked, unlinked := passkeyEvent{observed: new(true)}, passkeyEvent{observed: new(false)}
	challenged, proven := passkeyEvent{challenged: new(true)}, passkeyEvent{challenged: new(false)}
	exited, cancelled, gone := passkeyEvent{exited: true}, passkeyEvent{cancelled: true}, stage("", "")
	needed, sent, confirm := stage(rpc.PasskeyNeeded, ""), stage(rpc.PasskeySent, ""), stage(rpc.PasskeyConfirming, "")
	none, restarted := is(PasskeyNone, "", ""), is(PasskeyFailed, ToLink, PasskeyRestarted)
	for name, tc := range map[string]struct {
		events []passkeyEvent
		want   Passkey
	}{
		"nothing happens":                         {[]passkeyEvent{unlinked, gone, proven, exited, cancelled}, none},
		"asked":                                   {[]passkeyEvent{needed}, is(PasskeyNeeded, ToLink, "")},
		"asked and still unlinked":                {[]passkeyEvent{needed, unlinked}, is(PasskeyNeeded, ToLink, "")},
		"signed":                                  {[]passkeyEvent{needed, sent}, is(PasskeySent, ToLink, "")},
		"to be compared":                          {[]passkeyEvent{needed, sent, confirm}, is(PasskeyConfirm, ToLink, "")},
		"linked":                                  {[]passkeyEvent{needed, sent, linked, gone}, none},
		"too late":                                {[]passkeyEvent{needed, sent, stage(rpc.PasskeyFailed, rpc.PasskeyTimeout)}, is(PasskeyFailed, ToLink, rpc.PasskeyTimeout)},
		"tried again":                             {[]passkeyEvent{stage(rpc.PasskeyFailed, rpc.PasskeyTimeout), needed}, is(PasskeyNeeded, ToLink, "")},
		"the page starts over":                    {[]passkeyEvent{needed, gone}, restarted},
		"the worker starts over":                  {[]passkeyEvent{needed, sent, exited}, restarted},
		"it starts over twice":                    {[]passkeyEvent{needed, exited, gone, exited}, restarted},
		"asked after a restart":                   {[]passkeyEvent{needed, exited, needed}, is(PasskeyNeeded, ToLink, "")},
		"linked by other means":                   {[]passkeyEvent{needed, exited, linked}, none},
		"cancelled":                               {[]passkeyEvent{needed, cancelled, gone}, none},
		"cancelled, reported first":               {[]passkeyEvent{needed, gone, cancelled}, none},
		"challenged":                              {[]passkeyEvent{challenged, linked}, is(PasskeyNeeded, ToChallenge, "")},
		"challenge shown to somebody":             {[]passkeyEvent{challenged, needed, challenged}, is(PasskeyNeeded, ToChallenge, "")},
		"challenge not answered":                  {[]passkeyEvent{challenged, needed, gone}, is(PasskeyNeeded, ToChallenge, "")},
		"challenge declined":                      {[]passkeyEvent{challenged, needed, cancelled, gone}, is(PasskeyNeeded, ToChallenge, "")},
		"challenge met":                           {[]passkeyEvent{challenged, needed, gone, proven}, none},
		"challenge and a restart":                 {[]passkeyEvent{challenged, exited}, is(PasskeyFailed, ToChallenge, PasskeyRestarted)},
		"challenge again after a restart":         {[]passkeyEvent{challenged, exited, challenged}, is(PasskeyNeeded, ToChallenge, "")},
		"linking after a challenge and a restart": {[]passkeyEvent{challenged, exited, needed}, is(PasskeyNeeded, ToLink, "")},
		"challenge after a failed linking":        {[]passkeyEvent{needed, exited, challenged}, is(PasskeyNeeded, ToChallenge, "")},
		"challenge withdrawn after a reload":      {[]passkeyEvent{challenged, exited, proven}, none},
	} {
		got := Passkey{Status: PasskeyNone}
		for _, e := range tc.events {
			got = got.next(e, now)
		}
		got.ExpiresAt, got.HandoffExpiresAt = Moment{}, Moment{}
		if got != tc.want {
			t.Errorf("%s: got %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestPasskeyShowsItsClocks(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	p := Passkey{Status: PasskeyNone}
	for _, tc := range []struct {
		stage            rpc.PasskeyStage
		ttl, handoff     time.Duration
		expires, without Moment
	}{
		{rpc.PasskeyNeeded, 10 * time.Minute, 5 * time.Minute, Moment{now.Add(10 * time.Minute)}, Moment{now.Add(5 * time.Minute)}},
		{rpc.PasskeyNeeded, 4 * time.Minute, 0, Moment{now.Add(4 * time.Minute)}, Moment{}},
		{rpc.PasskeySent, 2 * time.Minute, time.Minute, Moment{now.Add(2 * time.Minute)}, Moment{}},
		{rpc.PasskeyConfirming, 2 * time.Minute, time.Minute, Moment{now.Add(2 * time.Minute)}, Moment{}},
		{rpc.PasskeyFailed, 0, 0, Moment{}, Moment{}},
	} {
		p = p.next(passkeyEvent{changed: &rpc.PasskeyChanged{Stage: tc.stage, TTL: tc.ttl, HandoffTTL: tc.handoff}}, now)
		if p.ExpiresAt != tc.expires || p.HandoffExpiresAt != tc.without {
			t.Errorf("%s: got %v and %v", tc.stage, p.ExpiresAt, p.HandoffExpiresAt)
		}
	}
}
