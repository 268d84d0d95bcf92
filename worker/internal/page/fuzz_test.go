package page

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/selectors"
	"session-manager/worker/internal/page/classify"
)

// FuzzRecord reads any answer of the observer's as a record, and has it judged.
func FuzzRecord(f *testing.F) {
	f.Add(`{"url":"https://web.whatsapp.com/","online":true,"socket":"UNPAIRED","shown":"2@x,y","opacity":1,"progress":-1}`)
	f.Add(`{"url":"chrome-error://x","refTTL":1e300,"progress":1e300,"opacity":-1,"registered":null}`)
	f.Add(`{"url":"::","shown":"` + loginOf("SomeReference") + `","socket":"UNPAIRED","online":true,"opacity":1}`)
	f.Fuzz(func(t *testing.T, answer string) {
		var r record
		if json.Unmarshal([]byte(answer), &r) != nil {
			return
		}
		through, err := parseLens(nil)
		if err != nil {
			t.Fatal(err)
		}
		p := &Page{o: Options{URL: "https://web.whatsapp.com/"}, log: slog.New(slog.DiscardHandler), signals: newSignals(), base: time.Now()}
		l := &loop{Page: p, through: through, refusals: map[selectors.Reader]string{}, saw: map[selectors.Reader]string{}}
		now := time.Now()
		look := l.lookOf(r, 1, now)
		if look.Drawn.Progress < -1 || look.Drawn.Progress > 100 {
			t.Fatalf("progress is %d", look.Drawn.Progress)
		}
		for _, found := range look.Readings {
			if found.Found && !through.accepts(string(found.Code.Whole)) {
				t.Fatal("what is no login string was read as one")
			}
		}
		j := classify.New(classify.Timings{})
		h, _ := j.Next(classify.History{}, look, now)
		j.Next(h, look, now.Add(time.Minute))
	})
}

// FuzzOutline outlines any element. No login string, no code and no number gets
// through.
func FuzzOutline(f *testing.F) {
	f.Add("div", "aria-label", "Enter code on phone: A,B,C,D,1,2,3,4", "ABCD-1234", false)
	f.Add("x", "data-ref", "2@ref,", "a word before it", false)
	f.Add("p", "title", "+54 9 11 5000 0000", "Ada", true)
	f.Fuzz(func(t *testing.T, tag, name, value, text string, secret bool) {
		if strings.Contains(tag+name+value+text, "SecretSecret") {
			t.Skip("a part of a login string is none")
		}
		login := loginOf("SecretSecret")
		root := &proto.DOMNode{NodeType: nodeElement, NodeName: tag, Attributes: []string{name, value + " " + login}, Children: []*proto.DOMNode{
			{NodeType: nodeText, NodeValue: text + " " + login},
		}}
		out := outline(root, secret)
		if len(out) > outlineLimit+100 {
			t.Fatalf("%d bytes", len(out))
		}
		if strings.Contains(out, "SecretSecret") {
			t.Fatal("a login string got through")
		}
	})
}
