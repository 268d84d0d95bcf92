package outbox

import (
	"errors"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/worker"
)

// page is what the worker has reported of the page in its present life.
type page struct {
	// readySince is when it became ready, zero while it is not.
	readySince time.Time
	// possible: it can send, as far as it has reported.
	possible bool
	// typing: it can't, but a text can be typed.
	typing   bool
	newChats rpc.NewChats
	// account is whose page it is, zero while unknown.
	account rpc.Account
	// suspect is the chat for which it had no way to send just now, empty for none.
	suspect string
}

// maySend reports whether a message can be sent, by typing where there is no other way.
func (p page) maySend(e entry) bool { return p.possible || p.typing && canType(e) }

// sight is what is known of a message in the present life of the page. There are as many
// as messages that wait.
type sight struct {
	pending bool
	ack     int8
	// at is when this was found, zero if it was not. since is when the message was first
	// seen pending.
	at, since time.Time
}

// look is s after the page was asked for the message.
func (s sight) look(state rpc.MessageState, now time.Time) sight {
	s.ack, s.at = int8(min(max(state.Ack, -1), 4)), now
	s.pending = state.Stored && state.Ack == 0 && state.Pending
	switch {
	case !s.pending:
		s.since = time.Time{}
	case s.since.IsZero():
		s.since = now
	}
	return s
}

// step is what is to be done with a message.
type step int

const (
	// idle: nothing, until then or until something happens.
	idle step = iota
	send
	lookUp
	// restart: the page has it and does not get rid of it. Another life of the page may.
	restart
	// giveUp: it has waited for too long.
	giveUp
)

const (
	// ackPatience is how long the page may have a message, connected, without an
	// acknowledgement; afterwards it is restarted.
	ackPatience = 60 * time.Second
	// lookEvery is how often a message that the page has is looked up until it is
	// acknowledged, in case the event is lost.
	lookEvery = 20 * time.Second
	// recoverable is how long after its first attempt it may take to find out what became of
	// a message.
	recoverable = 7 * 24 * time.Hour
)

// next decides what to do with the first message of a chat, and at the latest when to ask
// again, which is zero if only an event changes anything.
func next(e entry, s sight, p page, now time.Time) (step, time.Time) {
	end := e.at(Sending).Add(recoverable)
	switch {
	case !e.Status.waiting():
		return idle, time.Time{}
	case !e.Touched:
		return nextUntouched(e, p, now)
	case !now.Before(end):
		return giveUp, now
	case p.readySince.IsZero():
		return idle, end
	case e.Typed != 0 && e.Row == "": // once in each life of the page it is looked for
		if s.at.IsZero() && p.maySend(e) {
			return send, now
		}
		return idle, end
	case s.pending:
		return nextPending(e, s, p, now)
	case e.Act == "" && s.at.IsZero():
		return lookUp, now
	case p.maySend(e):
		return send, now
	}
	return idle, end
}

// nextPending is next for a message that the page has.
func nextPending(e entry, s sight, p page, now time.Time) (step, time.Time) {
	stale := now.Sub(s.at) >= lookEvery
	switch {
	case stale && e.Act == "":
		return lookUp, now
	case now.Sub(later(s.since, p.readySince)) >= ackPatience:
		return restart, now
	case stale && p.possible:
		return send, now // only Send knows what an act is to lead to
	}
	return idle, s.at.Add(lookEvery)
}

// nextUntouched is next for a message that no page was given.
func nextUntouched(e entry, p page, now time.Time) (step, time.Time) {
	switch expires := moment(e.Expires); {
	case !now.Before(expires):
		return giveUp, now
	case p.readySince.IsZero() || !p.maySend(e):
		return idle, expires
	}
	return send, now
}

// stillRight reports whether a message may be sent after the disk has taken its time to note that.
func stillRight(e entry, wasTouched bool, p page, account rpc.Account, now time.Time) bool {
	return !p.readySince.IsZero() && p.maySend(e) && account.Is(e.owner()) && (wasTouched || now.Before(moment(e.Expires)))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// verdict is what an attempt to send has led to.
type verdict struct {
	entry entry
	// retry is the pause before the chat's next attempt.
	retry time.Duration
	// doubt: it was this attempt of which nobody knows what it has done.
	doubt bool
	// impossible: the page had no way to send this message, and perhaps has none for any other.
	impossible bool
	// noStrangers is how long nobody may be written to for the first time.
	noStrangers time.Time
}

// The pause after the first failure of a chat doubles with each further one.
const (
	firstPause, maxPause = 5 * time.Second, 5 * time.Minute
	// unknownRestriction is for how long a restriction is believed of which the end is not
	// known.
	unknownRestriction = time.Hour
	// maxLookups is how many failed questions to WhatsApp's server in a row, in about half an
	// hour, end a message.
	maxLookups = 12
	// maxUploads is how many attempts to upload its file a message has, within a few minutes.
	maxUploads = 6
)

// pause returns the pause after a number of failures in a row.
func pause(failures int) time.Duration {
	return min(firstPause<<min(failures, 10), maxPause)
}

// outcome decides what an error of Send, or of Contact before it, means for e, which is as it was
// before the attempt but for Attempts and the time of Sending. failures counts those of the chat so far.
func outcome(e entry, wasTouched bool, err error, failures int, now time.Time) verdict {
	v := verdict{entry: e, retry: pause(failures)}
	refusal, definite := errors.AsType[*rpc.SendError](err)
	if !definite {
		return v.unsure(wasTouched, err, now)
	}
	if v.entry.Touched = wasTouched; !wasTouched {
		v.entry.Typed = 0
	}
	code := Code(refusal.Code)
	switch refusal.Code {
	case rpc.SendNotReady:
	case rpc.SendLookupFailed:
		if v.entry = v.entry.wait(code, time.Time{}); failures+1 >= maxLookups && !wasTouched {
			v.entry = v.entry.fail(code, time.Time{}, now)
		}
	case rpc.SendMediaFailed:
		if v.entry = v.entry.wait(code, time.Time{}); failures+1 >= maxUploads {
			v.entry = v.entry.fail(code, time.Time{}, now)
		}
	case rpc.SendPagePathGone:
		if e.Act != "" {
			v.entry = v.entry.fail(code, time.Time{}, now) // messages can still be sent
			break
		}
		v.entry, v.impossible, v.retry = v.entry.wait(code, time.Time{}), e.File == 0, maxPause
	case rpc.SendNewChatsRestricted, rpc.SendNewChatsCapped:
		v.noStrangers = refusal.Until
		if !v.noStrangers.After(now) {
			v.noStrangers = now.Add(unknownRestriction)
		}
		v.entry = restricted(v.entry, code, refusal.Until, now)
	default:
		v.entry = v.entry.fail(code, refusal.Until, now)
	}
	return v
}

// result is the verdict's name in metrics and logs.
func (v verdict) result() string {
	switch {
	case v.entry.Status == Failed:
		return "failed"
	case v.entry.Touched:
		return "unknown"
	}
	return "deferred"
}

// unsure is v after an error by which nobody knows what the page has done.
func (v verdict) unsure(wasTouched bool, err error, now time.Time) verdict {
	if errors.Is(err, worker.ErrNoWorker) {
		v.entry.Touched = wasTouched
	} else {
		v.doubt = v.entry.Touched && v.entry.Typed == 0
	}
	v.entry = v.entry.doubt(now)
	return v
}

// restricted is e when the account may not write to people it does not know until then,
// zero if nobody knows. If that is after it expires, it fails now.
func restricted(e entry, c Code, until, now time.Time) entry {
	if !e.Touched && until.After(moment(e.Expires)) {
		return e.fail(c, until, now)
	}
	return e.wait(c, until)
}
