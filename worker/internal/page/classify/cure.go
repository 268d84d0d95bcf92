package classify

import (
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
)

// renewal is the page being asked for new codes.
type renewal struct {
	pending   bool
	at        time.Time // when it was last asked
	notBefore time.Time
	fruitless int
	total     uint
}

// offer turns the verdict on the code into what is told of it.
func (j Classifier) offer(h History, v Decision, code codeVerdict, now time.Time) (History, Decision) {
	if code.cause != "" {
		var events []rpc.EventBody
		h, events = h.withdraw(code.cause)
		v.Events = append(v.Events, events...)
		return h, v
	}
	v.Wake = code.expires
	whole := code.picked.code.Whole
	if !code.picked.since.Before(h.renewal.at) {
		h.renewal.pending, h.renewal.fruitless = false, 0
	}
	const same = 500 * time.Millisecond
	if h.offer.on && h.offer.code == whole && code.expires.Sub(h.offer.expires).Abs() < same {
		return h, v
	}
	if h.latest != whole {
		h.latest = whole
		h.seq++
	}
	h.offer = offer{on: true, code: whole, reader: code.reader, expires: code.expires, document: h.document}
	v.Events = append(v.Events, rpc.QRShown{
		Payload: whole, Reader: string(code.reader), Seq: h.seq, TTL: code.expires.Sub(now), Renewals: h.renewal.total,
	})
	return h, v
}

// withdraw tells that the offered code is no more, if there is one.
func (h History) withdraw(cause string) (History, []rpc.EventBody) {
	if !h.offer.on {
		return h, nil
	}
	h.offer.on = false
	return h, []rpc.EventBody{rpc.QRGone{Cause: cause}}
}

// cure decides what to do about a page in k.
func (j Classifier) cure(h History, v Decision, k kind, l Observation, now time.Time) (History, Decision) {
	switch {
	case l.Busy:
		return h, v
	case k == kindRenewing:
		return j.renew(h, v, l, now)
	case k == kindConflict:
		return j.takeOver(h, v, now)
	}
	if k == kindPhoneCode || k == kindPhoneEntry {
		h.renewal.pending = false // Another way to be linked was chosen meanwhile.
	}
	if h.renewal.pending && k.unlinked() && k != kindNoNetwork {
		if by := h.renewal.at.Add(j.t.RenewWithin); now.Before(by) {
			v.Wake = earlier(v.Wake, by)
			return h, v
		}
		return j.renewalFailed(h, v, now)
	}
	t := j.trait(k)
	if t.patience == 0 {
		return h, v
	}
	n := h.loads[k]
	if due := j.due(h, k, l, now); now.Before(due) {
		v.Wake = earlier(v.Wake, due)
		return h, v
	}
	v.Why = j.observe(h, k, l, now).Reason
	if t.giveUp > 0 && n >= t.giveUp {
		v.Action = GiveUp
		return h, v
	}
	h.loads[k]++
	h.loadsAt = now
	v.Action = Reload
	switch {
	case t.fresh:
		v.Action = ReloadFresh
	case k == kindOtherTab && n == 0:
		v.Action = UseHere
	case k == kindPhoneCode && n == 0, k == kindPhoneEntry && n == 0:
		v.Action = Return
	}
	return h, v
}

// due is when something must be done about a page in k.
func (j Classifier) due(h History, k kind, l Observation, now time.Time) time.Time {
	t, n := j.trait(k), h.loads[k]
	if k == kindPhoneCode && !l.PairingUntil.IsZero() {
		if ends := h.pairingEnds(l, now, j.t.paced(pairingGrace)); h.loadsAt.Before(ends) {
			return ends
		}
	}
	if n == 1 && (k == kindPhoneCode || k == kindPhoneEntry) {
		return h.loadsAt.Add(j.t.RenewWithin) // The button had no effect.
	}
	from := h.since(k)
	if h.loadsAt.After(from) {
		from = h.loadsAt
	}
	return from.Add(min(t.patience<<min(n, 10), t.patienceMax))
}

// pairingGrace is for a code that is being used in its last moment.
const pairingGrace = 5 * time.Second

// pairingEnds is when the page should show its QR again.
func (h History) pairingEnds(l Observation, now time.Time, grace time.Duration) time.Time {
	switch {
	case h.voided.IsZero():
		return l.PairingUntil.Add(grace)
	case l.Socket == selectors.SocketOpening, l.Socket == selectors.SocketPairing:
		return now.Add(time.Second) // It has nothing else to show yet.
	default:
		return h.voided
	}
}

// renew asks an idle page for new codes: by its button, or without one by
// loading it again.
func (j Classifier) renew(h History, v Decision, l Observation, now time.Time) (History, Decision) {
	r := h.renewal
	if by := r.at.Add(j.t.RenewWithin); r.pending && now.Before(by) {
		v.Wake = earlier(v.Wake, by)
		return h, v
	}
	if r.pending {
		return j.renewalFailed(h, v, now)
	}
	if now.Before(r.notBefore) {
		v.Wake = earlier(v.Wake, r.notBefore)
		return h, v
	}
	const drawing = 2 * time.Second
	if by := h.spans[kindRenewing].since.Add(drawing); len(l.Buttons) == 0 && now.Before(by) {
		v.Wake = earlier(v.Wake, by)
		return h, v
	}
	v.Action, v.Why = Press, reason.ScanQR
	if len(l.Buttons) == 0 {
		v.Action = Reload
	}
	h.renewal = renewal{pending: true, at: now, notBefore: now.Add(j.t.RenewPause), fruitless: r.fruitless, total: r.total + 1}
	return h, v
}

// renewalFailed loads the page again after a press that brought no new code.
func (j Classifier) renewalFailed(h History, v Decision, now time.Time) (History, Decision) {
	r := h.renewal
	if now.Before(r.notBefore) {
		v.Wake = earlier(v.Wake, r.notBefore)
		return h, v
	}
	pause := min(j.t.RenewPause<<min(r.fruitless, 10), j.t.RenewPauseMax)
	h.renewal = renewal{at: now, notBefore: now.Add(pause), fruitless: r.fruitless + 1, total: r.total + 1}
	h.loadsAt = now
	v.Action, v.Why = Reload, reason.QRUnreadable
	return h, v
}

// PressFailed notes that the button could not be pressed, so that the page is
// loaded again without waiting for a code.
func (h History) PressFailed() History {
	h.renewal.at = time.Time{}
	return h
}

// Navigated notes that the page is being loaded on our own account, in which no
// code can be scanned.
func (h History) Navigated() (History, []rpc.EventBody) { return h.withdraw(causeNavigated) }

// Expired withdraws the code when its life is over although the page could not
// be looked at.
func (h History) Expired(now time.Time) (History, []rpc.EventBody) {
	if !h.offer.on || now.Before(h.offer.expires) {
		return h, nil
	}
	return h.withdraw(causeExpired)
}

// Failing is the observation of a page that can't be looked at for the reason
// r, and is being loaded again.
func (h History) Failing(r reason.Code, now time.Time) (History, []rpc.EventBody) {
	h, events := h.withdraw(causeNavigated)
	h.told = rpc.PageObserved{
		Condition: rpc.PageLoading, Reason: r, Progress: -1,
		Registered: h.registered, PageVersion: h.told.PageVersion,
	}
	h.toldAt = now
	return h, append(events, h.told)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
