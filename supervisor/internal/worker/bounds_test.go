package worker

import (
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/shared/rpc"
)

// Nothing that a worker says is longer than mostText, or a list longer than mostLines.
const (
	mostText  = 80 << 10
	mostLines = 200
	// mostMemory is how much a flood may make this process grow, the notices that the
	// test keeps included.
	mostMemory = 96 << 20
)

// checkBounds fails the test for each field of v that is not bounded.
func checkBounds(t *testing.T, v reflect.Value, name string) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			checkBounds(t, v.Field(i), name+"."+v.Type().Field(i).Name)
		}
	case reflect.Slice:
		if v.Len() > mostLines {
			t.Errorf("%s has %d elements", name, v.Len())
		}
		for i := range min(v.Len(), mostLines) {
			checkBounds(t, v.Index(i), name)
		}
	case reflect.String:
		if v.Len() > mostText {
			t.Errorf("%s has %d bytes", name, v.Len())
		}
	case reflect.Int64:
		if v.Int() > int64(time.Hour) {
			t.Errorf("%s is %d", name, v.Int())
		}
	case reflect.Int:
		if v.Int() >= 1<<31-1 {
			t.Errorf("%s is %d", name, v.Int())
		}
	}
}

// memoryOf returns what this process holds after a collection.
func memoryOf() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

func TestEveryFieldOfAnEventIsBounded(t *testing.T) {
	r := newRig(t, "exaggerate").start()
	seen := map[string]bool{}
	for !seen["Failure"] {
		body := await[FromWorker](r).Event.Body
		kind := reflect.TypeOf(body).Name()
		seen[kind] = true
		checkBounds(t, reflect.ValueOf(body), kind)
	}
	if len(seen) != 13 {
		t.Errorf("of 13 kinds of events only %v came", seen)
	}
	end := await[Exited](r)
	checkBounds(t, reflect.ValueOf(end.Reason), "reason")
	checkBounds(t, reflect.ValueOf(end.ChromeStderr), "stderr")
}

func TestLargeAnswersAreBoundedOrRefused(t *testing.T) {
	r := newRig(t, "large answers").start()
	awaitEvent[rpc.PageObserved](r)
	before := memoryOf()
	if png, err := r.Screenshot(t.Context()); !errors.Is(err, rpc.ErrFlooded) || len(png) > 0 {
		t.Errorf("Screenshot() = %d bytes, %v", len(png), err)
	}
	if grown := int64(memoryOf() - before); grown > mostMemory {
		t.Errorf("a screenshot of 300 MB took %d bytes", grown)
	}
	pairing, err := r.Pair(t.Context(), "491707654321")
	if err != nil || pairing.Code != "" || pairing.TTL > 10*time.Minute {
		t.Errorf("Pair() = a code of %d bytes for %s, %v", len(pairing.Code), pairing.TTL, err)
	}
	d, err := r.Diagnose(t.Context())
	if err != nil || d.Outline == "" {
		t.Errorf("Diagnose() = %v", err)
	}
	checkBounds(t, reflect.ValueOf(d), "Diagnosis")
	if err := r.LogOut(t.Context()); err == nil || len(err.Error()) > mostText {
		t.Errorf("LogOut() = an error of %d bytes", len(err.Error()))
	}
	if body := awaitEvent[rpc.Heartbeat](r); body.ResidentBytes != 1 {
		t.Errorf("the worker does not run any longer")
	}
}

func TestFloodingWorkerIsEndedWithItsReason(t *testing.T) {
	modes := []string{"strangers", "flood PageObserved", "flood QRShown", "flood Heartbeat", "oversize MessageChanged", "oversize Failure"}
	few := len(modes)
	for _, kind := range []string{"PhaseChanged", "BrowserStarted", "QRGone", "BackupChecked", "MessageChanged", "SendingObserved", "ReceivingObserved"} {
		modes = append(modes, "flood "+kind)
	}
	for _, kind := range []string{"PhaseChanged", "BrowserStarted", "PageObserved", "QRShown", "QRGone", "BackupChecked", "SendingObserved", "ReceivingObserved"} {
		modes = append(modes, "oversize "+kind)
	}
	if !*thorough { // Each kind of event is bounded in the same place.
		modes = modes[:few]
	}
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			before := memoryOf()
			r := newRig(t, mode).start()
			end := await[Exited](r)
			r.stop()
			if end.Reason != reason.WorkerFlooded || end.Class != "transient" || !strings.Contains(end.Detail, "sends too much") {
				t.Errorf("Exited: %s, %s, %q", end.Reason, end.Class, end.Detail)
			}
			if lines := strings.Count(r.log.text(), "\n"); lines > 2*rpc.EventBurst {
				t.Errorf("%d lines were logged", lines)
			}
			if grown := int64(memoryOf() - before); grown > mostMemory {
				t.Errorf("this process has grown by %d bytes", grown)
			}
		})
	}
}

func TestEndlessOutputEndsTheWorker(t *testing.T) {
	for _, mode := range []string{"endless stdout", "endless stderr"} {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t, mode, patient).start()
			end := await[Exited](r)
			r.stop()
			if end.Reason != reason.WorkerFlooded || !strings.Contains(end.Detail, "no end") {
				t.Errorf("Exited: %s, %q", end.Reason, end.Detail)
			}
			if size := len(r.log.text()); size > 16<<20 {
				t.Errorf("the log has %d bytes", size)
			}
		})
	}
}
