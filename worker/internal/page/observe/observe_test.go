package observe

import (
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"session-manager/worker/internal/page/classify"
	"session-manager/worker/internal/page/target"
)

// FuzzAnswer translates any answer of observe.js, and classifies it.
func FuzzAnswer(f *testing.F) {
	f.Add(`{"document":{"url":"https://web.whatsapp.com/","online":true,"shown":"2@x,y","opacity":1,"progress":-1},"modules":{"socket":"UNPAIRED"}}`)
	f.Add(`{"document":{"url":"chrome-error://x","progress":1e300,"opacity":-1,"registered":null},"modules":{"refTTL":1e300}}`)
	key := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	payload := "2@SomeReference," + strings.Join([]string{key, key, key, "1"}, ",")
	f.Add(`{"document":{"url":"::","shown":"` + payload + `","online":true,"opacity":1},"modules":{"socket":"UNPAIRED"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var a answer
		if json.Unmarshal([]byte(text), &a) != nil {
			return
		}
		set, err := target.Compile(nil)
		if err != nil {
			t.Fatal(err)
		}
		o := New(nil, slog.New(slog.DiscardHandler))
		o.current.scripts = set
		now := time.Now()
		seen := o.translate(a, 1, now)
		if seen.Drawn.Progress < -1 || seen.Drawn.Progress > 100 {
			t.Fatalf("progress is %d", seen.Drawn.Progress)
		}
		for _, found := range seen.Readings {
			if _, err := set.Parse(string(found.Code.Whole)); found.Found && err != nil {
				t.Fatal("a text was read as a QR payload")
			}
		}
		j := classify.New(classify.Timings{})
		h, _ := j.Next(classify.History{}, seen, now)
		j.Next(h, seen, now.Add(time.Minute))
	})
}
