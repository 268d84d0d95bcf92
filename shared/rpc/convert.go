package rpc

import (
	"fmt"

	"session-manager/shared/reason"
	"session-manager/shared/rpc/workerpb"
)

func eventToProto(e Event) (*workerpb.Event, error) {
	p := &workerpb.Event{Generation: e.Generation, Seq: e.Seq, WaitedMs: e.Waited.Milliseconds()}
	switch b := e.Body.(type) {
	case PhaseChanged:
		p.Body = &workerpb.Event_PhaseChanged{PhaseChanged: &workerpb.PhaseChanged{Phase: string(b.Phase)}}
	case BrowserStarted:
		p.Body = &workerpb.Event_BrowserStarted{BrowserStarted: &workerpb.BrowserStarted{
			Pid: int64(b.PID), Product: b.Product, UserAgent: b.UserAgent, Sandbox: b.Sandbox,
		}}
	case PageObserved:
		p.Body = &workerpb.Event_PageObserved{PageObserved: &workerpb.PageObserved{
			Condition: string(b.Condition), Reason: string(b.Reason), Detail: b.Detail,
			Progress: int32(b.Progress), Registered: b.Registered, Persisted: b.Persisted, PageVersion: b.PageVersion,
			RetryAtMs: sinceEpoch(b.RetryAt),
		}}
	case QRShown:
		p.Body = &workerpb.Event_QrShown{QrShown: &workerpb.QRShown{
			Payload: string(b.Payload), Reader: b.Reader, Seq: b.Seq,
			TtlMs: b.TTL.Milliseconds(), Renewals: uint32(b.Renewals),
		}}
	case QRGone:
		p.Body = &workerpb.Event_QrGone{QrGone: &workerpb.QRGone{Cause: b.Cause}}
	case Heartbeat:
		p.Body = &workerpb.Event_Heartbeat{Heartbeat: &workerpb.Heartbeat{ResidentBytes: b.ResidentBytes}}
	case Failure:
		p.Body = &workerpb.Event_Failure{Failure: &workerpb.Failure{
			Reason: string(b.Reason), Detail: b.Detail, ChromeStderr: b.ChromeStderr,
		}}
	case BrowserExited:
		p.Body = &workerpb.Event_BrowserExited{BrowserExited: &workerpb.BrowserExited{Exit: b.Exit}}
	case BackupChecked:
		p.Body = &workerpb.Event_BackupChecked{BackupChecked: &workerpb.BackupChecked{
			Outcome: string(b.Outcome), Detail: b.Detail, Databases: uint32(b.Databases),
		}}
	case MessageChanged:
		p.Body = &workerpb.Event_MessageChanged{MessageChanged: &workerpb.MessageChanged{
			Id: string(b.ID), Ack: int32(b.Ack), Refusal: int32(b.Refusal), AtMs: sinceEpoch(b.At),
		}}
	default:
		return p, furtherToProto(p, e.Body)
	}
	return p, nil
}

// furtherToProto is eventToProto for what is about the account.
func furtherToProto(p *workerpb.Event, body EventBody) error {
	switch b := body.(type) {
	case SendingObserved:
		p.Body = &workerpb.Event_SendingObserved{SendingObserved: sendingToProto(b)}
	case ReceivingObserved:
		p.Body = &workerpb.Event_ReceivingObserved{ReceivingObserved: &workerpb.ReceivingObserved{Possible: b.Possible, Reactions: b.Reactions, Why: b.Why}}
	case MessagesArrived:
		p.Body = &workerpb.Event_MessagesArrived{MessagesArrived: &workerpb.MessagesArrived{}}
	case PasskeyChanged:
		p.Body = passkeyToProto(b)
	default:
		return fmt.Errorf("internal error: no wire form for event %T", body)
	}
	return nil
}

// eventFromProto returns what was received, within its bounds.
func eventFromProto(p *workerpb.Event) (Event, error) {
	e := Event{Generation: p.GetGeneration(), Seq: p.GetSeq(), Waited: milliseconds(p.GetWaitedMs())}
	switch b := p.GetBody().(type) {
	case *workerpb.Event_PhaseChanged:
		e.Body = PhaseChanged{Phase: Phase(b.PhaseChanged.GetPhase())}
	case *workerpb.Event_BrowserStarted:
		e.Body = BrowserStarted{
			PID: int(b.BrowserStarted.GetPid()), Product: b.BrowserStarted.GetProduct(),
			UserAgent: b.BrowserStarted.GetUserAgent(), Sandbox: b.BrowserStarted.GetSandbox(),
		}
	case *workerpb.Event_PageObserved:
		e.Body = PageObserved{
			Condition: Condition(b.PageObserved.GetCondition()), Reason: reason.Code(b.PageObserved.GetReason()),
			Detail: b.PageObserved.GetDetail(), Progress: int(b.PageObserved.GetProgress()),
			Registered: b.PageObserved.GetRegistered(), Persisted: b.PageObserved.GetPersisted(), PageVersion: b.PageObserved.GetPageVersion(),
			RetryAt: moment(b.PageObserved.GetRetryAtMs()),
		}
	case *workerpb.Event_QrShown:
		e.Body = QRShown{
			Payload: QRPayload(b.QrShown.GetPayload()), Reader: b.QrShown.GetReader(), Seq: b.QrShown.GetSeq(),
			TTL: milliseconds(b.QrShown.GetTtlMs()), Renewals: uint(b.QrShown.GetRenewals()),
		}
	case *workerpb.Event_QrGone:
		e.Body = QRGone{Cause: b.QrGone.GetCause()}
	case *workerpb.Event_Heartbeat:
		e.Body = Heartbeat{ResidentBytes: b.Heartbeat.GetResidentBytes()}
	case *workerpb.Event_Failure:
		e.Body = Failure{
			Reason: reason.Code(b.Failure.GetReason()), Detail: b.Failure.GetDetail(),
			ChromeStderr: b.Failure.GetChromeStderr(),
		}
	case *workerpb.Event_BrowserExited:
		e.Body = BrowserExited{Exit: b.BrowserExited.GetExit()}
	case *workerpb.Event_BackupChecked:
		e.Body = BackupChecked{
			Outcome: Outcome(b.BackupChecked.GetOutcome()), Detail: b.BackupChecked.GetDetail(),
			Databases: int(b.BackupChecked.GetDatabases()),
		}
	case *workerpb.Event_MessageChanged:
		e.Body = MessageChanged{
			ID: MessageID(b.MessageChanged.GetId()), Ack: int(b.MessageChanged.GetAck()),
			Refusal: int(b.MessageChanged.GetRefusal()), At: moment(b.MessageChanged.GetAtMs()),
		}
	default:
		if e.Body = furtherFromProto(p); e.Body == nil {
			return Event{}, fmt.Errorf("cannot read event %d: unknown kind %T", p.GetSeq(), b)
		}
	}
	return bounded(e), nil
}

// furtherFromProto is eventFromProto for what is about the account; nil is not.
func furtherFromProto(p *workerpb.Event) EventBody {
	switch b := p.GetBody().(type) {
	case *workerpb.Event_SendingObserved:
		return sendingFromProto(b.SendingObserved)
	case *workerpb.Event_ReceivingObserved:
		o := b.ReceivingObserved
		return ReceivingObserved{Possible: o.GetPossible(), Reactions: o.GetReactions(), Why: o.GetWhy()}
	case *workerpb.Event_MessagesArrived:
		return MessagesArrived{}
	case *workerpb.Event_PasskeyChanged:
		return passkeyFromProto(b.PasskeyChanged)
	}
	return nil
}

func diagnosisToProto(d Diagnosis) *workerpb.DiagnoseResponse {
	p := &workerpb.DiagnoseResponse{
		Url: d.URL, PageVersion: d.PageVersion, UserAgent: d.UserAgent, Outline: d.Outline, Console: d.Console,
	}
	for _, r := range d.Readers {
		p.Readers = append(p.Readers, &workerpb.DiagnoseResponse_Reader{Reader: r.Reader, Saw: r.Saw})
	}
	return p
}

func diagnosisFromProto(p *workerpb.DiagnoseResponse) Diagnosis {
	d := Diagnosis{
		URL: p.GetUrl(), PageVersion: p.GetPageVersion(), UserAgent: p.GetUserAgent(), Outline: p.GetOutline(), Console: p.GetConsole(),
	}
	for _, r := range p.GetReaders() {
		d.Readers = append(d.Readers, ReaderView{Reader: r.GetReader(), Saw: r.GetSaw()})
	}
	return d.bounded()
}

func sendingToProto(o SendingObserved) *workerpb.SendingObserved {
	n := o.NewChats
	return &workerpb.SendingObserved{
		Possible: o.Possible, Typing: o.Typing, Why: o.Why, Restricted: n.Restricted, RestrictedUntilMs: sinceEpoch(n.RestrictedUntil),
		Capped: n.Capped, Used: int32(n.Used), Quota: int32(n.Quota), CappedUntilMs: sinceEpoch(n.CappedUntil), Challenge: n.Challenge,
		ChallengePasskey: n.ChallengePasskey, Phone: string(o.Account.Phone), Lid: string(o.Account.LID),
	}
}

func sendingFromProto(p *workerpb.SendingObserved) SendingObserved {
	return SendingObserved{Possible: p.GetPossible(), Typing: p.GetTyping(), Why: p.GetWhy(), NewChats: NewChats{
		Restricted: p.GetRestricted(), RestrictedUntil: moment(p.GetRestrictedUntilMs()), Capped: p.GetCapped(),
		Used: int(p.GetUsed()), Quota: int(p.GetQuota()), CappedUntil: moment(p.GetCappedUntilMs()), Challenge: p.GetChallenge(),
		ChallengePasskey: p.GetChallengePasskey(),
	}, Account: Account{Secret(p.GetPhone()), Secret(p.GetLid())}}
}

func messageToProto(m Message) *workerpb.SendRequest {
	p := &workerpb.SendRequest{Id: string(m.ID), To: string(m.To), Text: string(m.Text), ReplyTo: m.ReplyTo, Preview: m.Preview}
	p.Act, p.Target, p.Again, p.TypedMs = string(m.Act), m.Target, m.Again, sinceEpoch(m.Typed)
	for _, mention := range m.Mentions {
		p.Mentions = append(p.Mentions, string(mention))
	}
	if f := m.Media; f != (Media{}) {
		p.Media = &workerpb.Media{Path: f.Path, Kind: string(f.Kind), Mime: f.MIME, Name: string(f.Name), Size: f.Size}
	}
	return p
}

func messageFromProto(p *workerpb.SendRequest) Message {
	m := Message{
		ID: MessageID(p.GetId()), To: Secret(p.GetTo()), Text: Secret(p.GetText()), ReplyTo: p.GetReplyTo(), Preview: p.GetPreview(),
		Act: Act(p.GetAct()), Target: p.GetTarget(), Again: p.GetAgain(), Typed: moment(p.GetTypedMs()),
	}
	for _, mention := range p.GetMentions() {
		m.Mentions = append(m.Mentions, Secret(mention))
	}
	if f := p.GetMedia(); f != nil {
		m.Media = Media{Path: f.GetPath(), Kind: MediaKind(f.GetKind()), MIME: f.GetMime(), Name: Secret(f.GetName()), Size: f.GetSize()}
	}
	return m
}

func chatToProto(c Chat) *workerpb.Chat {
	return &workerpb.Chat{Phone: string(c.Phone), Lid: string(c.LID), Group: string(c.Group)}
}

func chatFromProto(p *workerpb.Chat) Chat {
	return Chat{Phone: Secret(p.GetPhone()), LID: Secret(p.GetLid()), Group: Secret(p.GetGroup())}
}

func stateToProto(s MessageState) *workerpb.MessageState {
	return &workerpb.MessageState{
		Id: string(s.ID), Row: string(s.Row), Chat: chatToProto(s.Chat), Stored: s.Stored, Ack: int32(s.Ack), Refusal: int32(s.Refusal),
		Pending: s.Pending, AtMs: sinceEpoch(s.At),
	}
}

func stateFromProto(p *workerpb.MessageState) MessageState {
	return MessageState{
		ID: MessageID(p.GetId()), Row: MessageID(p.GetRow()), Chat: chatFromProto(p.GetChat()), Stored: p.GetStored(), Ack: int(p.GetAck()),
		Refusal: int(p.GetRefusal()), Pending: p.GetPending(), At: moment(p.GetAtMs()),
	}.bounded()
}

func refsToProto(refs []MessageRef) *workerpb.LookupRequest {
	p := &workerpb.LookupRequest{}
	for _, r := range refs {
		p.Refs = append(p.Refs, &workerpb.LookupRequest_Ref{Id: string(r.ID), Chat: chatToProto(r.Chat)})
	}
	return p
}

func refsFromProto(p *workerpb.LookupRequest) (refs []MessageRef) {
	for _, r := range p.GetRefs() {
		refs = append(refs, MessageRef{ID: MessageID(r.GetId()), Chat: chatFromProto(r.GetChat())})
	}
	return refs
}

func marksToProto(marks []Mark) (all []*workerpb.Mark) {
	for _, m := range marks {
		all = append(all, &workerpb.Mark{Row: m.Row, Sum: m.Sum})
	}
	return all
}

func marksFromProto(marks []*workerpb.Mark) (all []Mark) {
	for _, m := range marks {
		all = append(all, Mark{Row: m.GetRow(), Sum: m.GetSum()})
	}
	return all
}

func receiveFromProto(p *workerpb.ReceiveRequest) ReceiveQuery {
	return ReceiveQuery{
		After: marksFromProto(p.GetAfter()), Since: moment(p.GetSinceMs()), Limit: int(p.GetLimit()), Keys: secrets(p.GetKeys()),
		Errand: Errand(p.GetErrand()), Offset: p.GetOffset(), Most: p.GetMost(),
	}
}

func receiveToProto(q ReceiveQuery) *workerpb.ReceiveRequest {
	return &workerpb.ReceiveRequest{
		After: marksToProto(q.After), SinceMs: sinceEpoch(q.Since), Limit: int32(q.Limit), Keys: texts(q.Keys),
		Errand: string(q.Errand), Offset: q.Offset, Most: q.Most,
	}
}

func receptionToProto(r Reception) *workerpb.ReceiveResponse {
	return &workerpb.ReceiveResponse{
		Phone: string(r.Account.Phone), Lid: string(r.Account.LID), Known: r.Known, Marks: marksToProto(r.Marks), Messages: receivedToProto(r.Messages),
		Changed: receivedToProto(r.Changed), Lost: r.Lost, More: r.More, Reacted: texts(r.Reacted), Reactions: reactionsToProto(r.Reactions), Part: r.Part,
	}
}

func receptionFromProto(p *workerpb.ReceiveResponse) Reception {
	return Reception{
		Account: Account{Secret(p.GetPhone()), Secret(p.GetLid())}, Known: p.GetKnown(), Marks: marksFromProto(p.GetMarks()),
		Messages: receivedFromProto(p.GetMessages()), Changed: receivedFromProto(p.GetChanged()), Lost: p.GetLost(), More: p.GetMore(),
		Reacted: secrets(p.GetReacted()), Reactions: reactionsFromProto(p.GetReactions()), Part: p.GetPart(),
	}.bounded()
}

func texts(all []Secret) (list []string) {
	for _, s := range all {
		list = append(list, string(s))
	}
	return list
}

func secrets(all []string) (list []Secret) {
	for _, s := range all {
		list = append(list, Secret(s))
	}
	return list
}

func reactionsToProto(all []Reaction) (out []*workerpb.Reaction) {
	for _, r := range all {
		out = append(out, &workerpb.Reaction{
			Message: string(r.Message), Reaction: r.Reaction, Id: r.ID, Chat: chatToProto(r.Chat), From: chatToProto(r.From), FromMe: r.FromMe,
			Emoji: string(r.Emoji), AtMs: sinceEpoch(r.At),
		})
	}
	return out
}

func reactionsFromProto(all []*workerpb.Reaction) (out []Reaction) {
	for _, p := range all {
		r := Reaction{
			Message: Secret(p.GetMessage()), Reaction: p.GetReaction(), ID: p.GetId(), Chat: chatFromProto(p.GetChat()), From: chatFromProto(p.GetFrom()),
			FromMe: p.GetFromMe(), Emoji: Secret(p.GetEmoji()), At: moment(p.GetAtMs()),
		}
		if r, ok := r.bounded(); ok {
			out = append(out, r)
		}
	}
	return out
}

func receivedToProto(all []Received) (out []*workerpb.Received) {
	for _, m := range all {
		out = append(out, &workerpb.Received{
			Key: string(m.Key), Id: m.ID, Chat: chatToProto(m.Chat), From: chatToProto(m.From), Name: string(m.Name), FromMe: m.FromMe,
			Type: string(m.Type), Text: string(m.Text), ReplyTo: m.ReplyTo, AtMs: sinceEpoch(m.At), Ack: int32(m.Ack), Edit: m.Edit,
			MediaMime: m.Media.MIME, MediaSize: m.Media.Size, MediaName: string(m.Media.Name), MediaSha256: m.Media.SHA256,
		})
	}
	return out
}

func receivedFromProto(all []*workerpb.Received) (out []Received) {
	for _, p := range all {
		m := Received{
			Key: Secret(p.GetKey()), ID: p.GetId(), Chat: chatFromProto(p.GetChat()), From: chatFromProto(p.GetFrom()),
			Name: Secret(p.GetName()), FromMe: p.GetFromMe(), Type: MessageType(p.GetType()), Text: Secret(p.GetText()),
			ReplyTo: p.GetReplyTo(), At: moment(p.GetAtMs()), Ack: int(p.GetAck()), Edit: p.GetEdit(),
			Media: ReceivedMedia{MIME: p.GetMediaMime(), Size: p.GetMediaSize(), Name: Secret(p.GetMediaName()), SHA256: p.GetMediaSha256()},
		}
		if m, ok := m.bounded(); ok {
			out = append(out, m)
		}
	}
	return out
}

func passkeyToProto(p PasskeyChanged) *workerpb.Event_PasskeyChanged {
	return &workerpb.Event_PasskeyChanged{PasskeyChanged: &workerpb.PasskeyChanged{
		Stage: string(p.Stage), Code: string(p.Code), Reason: string(p.Reason), TtlMs: p.TTL.Milliseconds(), HandoffTtlMs: p.HandoffTTL.Milliseconds(),
	}}
}

func passkeyFromProto(p *workerpb.PasskeyChanged) PasskeyChanged {
	return PasskeyChanged{
		Stage: PasskeyStage(p.GetStage()), Code: Secret(p.GetCode()), Reason: PasskeyReason(p.GetReason()),
		TTL: milliseconds(p.GetTtlMs()), HandoffTTL: milliseconds(p.GetHandoffTtlMs()),
	}
}
