package webui

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/session"
)

func render(t *testing.T, s session.Snapshot, language string) string {
	t.Helper()
	u, err := New()
	if err != nil {
		t.Fatal(err)
	}
	page, err := u.Render(View{Language: language, Session: &s, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// flatten collects the strings of a decoded JSON document, by where they are.
func flatten(at string, value any, into map[string]string) map[string]string {
	switch v := value.(type) {
	case string:
		into[at] = v
	case []any:
		for i, one := range v {
			flatten(fmt.Sprintf("%s[%d]", at, i), one, into)
		}
	case map[string]any:
		for name, one := range v {
			flatten(at+"."+name, one, into)
		}
	}
	return into
}

// locale returns every text in one of the files, by where it is.
func locale(t *testing.T, language string) map[string]string {
	t.Helper()
	content, err := files.ReadFile("locales/" + language + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var all any
	if err := json.Unmarshal(content, &all); err != nil {
		t.Fatal(err)
	}
	return flatten("", all, map[string]string{})
}

// differences lists what a translation lacks, has too much, or has lost a {place} of.
func differences(original, translation map[string]string) (all []string) {
	places := func(text string) []string {
		found := regexp.MustCompile(`\{\w+\}`).FindAllString(text, -1)
		slices.Sort(found)
		return found
	}
	for at, text := range original {
		translated, ok := translation[at]
		switch {
		case !ok || (text == "") != (translated == ""):
			all = append(all, fmt.Sprintf("%s: translate %q", at, text))
		case !slices.Equal(places(text), places(translated)):
			all = append(all, fmt.Sprintf("%s: %q needs the places of %q", at, translated, text))
		}
	}
	for at := range translation {
		if _, ok := original[at]; !ok {
			all = append(all, at+" is not in English")
		}
	}
	return all
}

func TestEachLanguageHasEveryText(t *testing.T) {
	original := locale(t, english)
	for _, language := range Languages() {
		for _, d := range differences(original, locale(t, language)) {
			t.Errorf("%s.json: %s", language, d)
		}
	}
	if !slices.Equal(Languages(), []string{"en", "es", "pt-BR"}) {
		t.Errorf("languages %v", Languages())
	}
	broken := map[string]string{".a": "{n} s", ".b": "", ".d": "x"}
	if got := differences(map[string]string{".a": "{n} s", ".b": "x", ".c": "{n}"}, broken); len(got) != 3 {
		t.Errorf("found %v", got)
	}
}

func TestEnglishHasStatesAndReasons(t *testing.T) {
	u, err := New()
	if err != nil {
		t.Fatal(err)
	}
	en := u.languages[english]
	for _, s := range session.States() {
		if en.States[s] == "" {
			t.Errorf("state %s has no headline", s)
		}
	}
	if len(en.Reasons) != len(reason.Codes()) {
		t.Errorf("%d reasons, but there are %d", len(en.Reasons), len(reason.Codes()))
	}
	for _, c := range reason.Codes() {
		// The catalogue's texts are for programs as well; the page's name what is on the page.
		text := reason.Describe(c)
		forPrograms := strings.Contains(text.Message+text.Action, "/qr") || strings.Contains(text.Action, "POST /") || strings.Contains(text.Action, "GET /")
		if line, _ := json.Marshal(text); en.Reasons[c] != text && (!forPrograms || en.Reasons[c].Message == "") {
			t.Errorf("en.json: the catalogue has %q: %s", c, line)
		}
	}
}

// source is the page's template and script.
func source(t *testing.T) (html, js string) {
	t.Helper()
	u, err := New()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := files.ReadDir("page")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := read("page/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		switch path.Ext(e.Name()) {
		case ".html":
			html += content
		case ".js":
			if !slices.Contains(scripts, e.Name()) {
				t.Errorf("%s is not among the scripts", e.Name())
			}
		}
	}
	return html, u.script
}

func TestScriptUsesExistingTextsAndElements(t *testing.T) {
	u, err := New()
	if err != nil {
		t.Fatal(err)
	}
	html, js := source(t)
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(`\bid="(\w+)"`).FindAllStringSubmatch(html, -1) {
		if ids[m[1]] {
			t.Errorf("there are two elements %s", m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`\b(?:el|show)\("(\w+)"`).FindAllStringSubmatch(js, -1) {
		if !ids[m[1]] {
			t.Errorf("the page has no element %s", m[1])
		}
	}
	code, err := os.ReadFile("webui.go")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`\b(?:ui\.|UI\.|UI\[")(\w+)`).FindAllStringSubmatch(js+html+string(code), -1) {
		used[m[1]] = true
		if u.languages[english].UI[m[1]] == "" {
			t.Errorf("there is no text %s", m[1])
		}
	}
	for name := range u.languages[english].UI {
		if !used[name] {
			t.Errorf("nothing uses the text %s", name)
		}
	}
}

func TestPageNamesNoOtherHost(t *testing.T) {
	page := render(t, session.Snapshot{State: session.Init}, "en")
	if found := regexp.MustCompile(`(?i)(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//`).FindString(page); found != "" {
		t.Errorf("found %s", found)
	}
}

func TestPolicyAllowsExactlyTheInlineScriptAndStyle(t *testing.T) {
	u, err := New()
	if err != nil {
		t.Fatal(err)
	}
	page := render(t, session.Snapshot{State: session.Init}, "en")
	for _, tag := range []string{"script", "style"} {
		_, rest, _ := strings.Cut(page, "<"+tag+">")
		content, _, ok := strings.Cut(rest, "</"+tag+">")
		if !ok || !strings.Contains(u.Policy, tag+"-src '"+hash(content)+"'") {
			t.Errorf("the policy does not name this %s: %s", tag, u.Policy)
		}
		if n := strings.Count(page, "<"+tag+">"); n != 1 {
			t.Errorf("%d elements %s", n, tag)
		}
	}
	if strings.Contains(u.Policy, "unsafe") || strings.Contains(page, " style=") || strings.Contains(page, " onclick=") {
		t.Error("something else than the hashes is needed")
	}
}

func TestPageShowsTheStateBeforeItsScriptRuns(t *testing.T) {
	s := session.Snapshot{State: session.Error, Reason: session.Reason{Code: reason.BrowserMissing}}
	for accept, want := range map[string][]string{
		"en": {`<html lang="en">`, "Chrome is missing", "No usable Chrome or Chromium was found.", "apt-get install chromium"},
		"es": {`<html lang="es">`, "Falta Chrome", "ningún Chrome", "apt-get install chromium"},
	} {
		page := render(t, s, accept)
		for _, part := range want {
			if !strings.Contains(page, part) {
				t.Errorf("%s: no %q", accept, part)
			}
		}
	}
}

func TestPageWorksWithoutItsScript(t *testing.T) {
	u, err := New()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	expires := func(in time.Duration) session.Snapshot {
		return session.Snapshot{State: session.QRRequired, QR: &session.QR{ExpiresAt: session.Moment{Time: now.Add(in)}}}
	}
	codes := map[time.Duration]string{time.Minute: `content="10"`, 3500 * time.Millisecond: `content="4"`, -time.Second: `content="10"`}
	for in, refresh := range codes {
		s := expires(in)
		page, err := u.Render(View{Language: english, Session: &s, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		picture := strings.Contains(string(page), `<noscript><section class="paper"><img src="qr.png"`)
		if !strings.Contains(string(page), `<noscript><meta http-equiv="refresh" `+refresh) || picture != (in > 0) {
			t.Errorf("a code for %s: no %s, or a picture: %v", in, refresh, picture)
		}
	}
	if page := render(t, session.Snapshot{State: session.Ready}, "en"); !strings.Contains(page, `<p id="message">Your phone is linked and connected.`) {
		t.Error("READY is not explained")
	}
}

func TestTextsOfThePageCantEndItsScript(t *testing.T) {
	page := render(t, session.Snapshot{State: `</script><b>`, Reason: session.Reason{Code: `</script><i>`}}, "en")
	if strings.Contains(page, "<b>") || strings.Contains(page, "<i>") {
		t.Error("not escaped")
	}
}
