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
	default:
		return nil, fmt.Errorf("internal error: no wire form for event %T", e.Body)
	}
	return p, nil
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
	default:
		return Event{}, fmt.Errorf("cannot read event %d: unknown kind %T", p.GetSeq(), b)
	}
	return bounded(e), nil
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
