// Package webui is the page for people: one self-contained HTML file in each of the
// languages in the folder locales. It follows the session by the API's events.
//
// To add a language, copy locales/en.json to a file named after the language's tag, such as
// pt-BR.json, and translate its values: the tests name what is missing, and what has lost a {place}.
package webui

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"path"
	"slices"
	"strings"
	"time"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/outbox"
	"session-manager/supervisor/internal/session"
)

// files are the page: page.html with a template for each section, the style, the scripts,
// and the texts.
//
//go:embed page locales
var files embed.FS

// scripts are the parts of the page's script. They share one scope: a later part may use
// what an earlier one declares, and the last one starts the page.
var scripts = []string{"base.js", "state.js", "link.js", "passkey.js", "message.js", "facts.js", "stream.js"}

// UI renders the page. It is immutable.
type UI struct {
	page          *template.Template
	languages     map[string]texts
	style, script string
	// signing is what runs on WhatsApp's page.
	signing string
	// Policy is the page's Content-Security-Policy.
	Policy string
}

// texts is every text of the page in one language. The page's script reads it
// under these names.
type texts struct {
	Language string
	// States are headlines, and Headlines those that say more for some reasons.
	States    map[session.State]string
	Headlines map[reason.Code]string
	// Steps lead to a scanned QR, and CodeSteps to a typed code.
	Steps, CodeSteps []string
	Phases           map[string]string
	// UI is the page itself, and Problems what the API answers, by the code.
	UI, Problems map[string]string
	// Statuses are those of messages, and SendCodes why one failed or waits.
	Statuses  map[outbox.Status]string
	SendCodes map[outbox.Code]string
	Reasons   map[reason.Code]reason.Text
}

func (t texts) describe(c reason.Code) reason.Text {
	if text, ok := t.Reasons[c]; ok {
		return text
	}
	return reason.Describe(c)
}

// New prepares the page.
func New() (*UI, error) {
	u := &UI{languages: map[string]texts{}}
	var err error
	if u.page, err = template.ParseFS(files, "page/*.html"); err != nil {
		return nil, fmt.Errorf("internal error: cannot parse the page: %w", err)
	}
	if u.style, err = read("page/page.css"); err != nil {
		return nil, err
	}
	for _, name := range scripts {
		part, err := read("page/" + name)
		if err != nil {
			return nil, err
		}
		u.script += part
	}
	for _, language := range Languages() {
		content, err := read("locales/" + language + ".json")
		if err != nil {
			return nil, err
		}
		t := texts{Language: language}
		if err := json.Unmarshal([]byte(content), &t); err != nil {
			return nil, fmt.Errorf("internal error: cannot read the page's texts in %s: %w", language, err)
		}
		u.languages[language] = t
	}
	if u.signing, err = signScript(); err != nil {
		return nil, err
	}
	u.Policy = policy(u.script, u.style)
	return u, nil
}

func read(name string) (string, error) {
	content, err := files.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("internal error: cannot read a part of the page: %w", err)
	}
	return string(content), nil
}

// policy allows exactly the page's own script and style, and nothing that another
// host serves.
func policy(script, style string) string {
	return "default-src 'none'; script-src '" + hash(script) + "'; style-src '" + hash(style) + "'; " +
		"img-src 'self' blob: data:; connect-src 'self'; form-action 'self'; base-uri 'none'; " +
		"frame-ancestors 'none'; require-trusted-types-for 'script'"
}

func hash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// english is for people who understand none of the languages.
const english = "en"

// Languages returns the tags of the page's languages; the first one is for people who
// understand none of them.
func Languages() []string {
	all := []string{english}
	entries, _ := files.ReadDir("locales") // it is embedded
	for _, e := range entries {
		if tag := strings.TrimSuffix(e.Name(), path.Ext(e.Name())); !slices.Contains(all, tag) {
			all = append(all, tag)
		}
	}
	return all
}

// View is what the page shows until its script takes over.
type View struct {
	// Language is one of Languages.
	Language string
	// Session is nil for somebody who has to enter a key first.
	Session *session.Snapshot
	// KeyFile is where the key is, empty if nobody is to see it, or if there are no keys.
	KeyFile string
	Now     time.Time
}

// view is the template's data. Style and Script are embedded files, and
// must not be escaped: the policy names their hashes.
type view struct {
	Headline, Message, Action, KeyHelp string
	State                              session.State
	Warnings                           []session.Reason
	// HasQR and Refresh are for browsers without JavaScript: whether there is a QR, and
	// after how many seconds the page is reloaded, 0 for never.
	HasQR   bool
	Refresh int
	Text    texts
	Signing string
	Style   template.CSS
	Script  template.JS
}

// Render returns the page.
func (u *UI) Render(v View) ([]byte, error) {
	t := u.languages[v.Language]
	shown := view{
		Headline: t.UI["keyTitle"], Message: t.Problems["key_required"],
		KeyHelp: t.UI["keySetting"], Text: t, Signing: u.signing,
		Style: template.CSS(u.style), Script: template.JS(u.script), //nolint:gosec // embedded, and named by hash in the policy
	}
	if v.KeyFile != "" {
		shown.KeyHelp = strings.ReplaceAll(t.UI["keyWhere"], "{file}", v.KeyFile)
	}
	if v.Session != nil {
		shown = shown.of(v.Session, v.Now)
	}
	var out bytes.Buffer
	if err := u.page.ExecuteTemplate(&out, "page.html", shown); err != nil {
		return nil, fmt.Errorf("cannot render the page: %w", err)
	}
	return out.Bytes(), nil
}

// slowRefresh is how often a page without JavaScript is reloaded, in seconds.
const slowRefresh = 10

// of returns v with what s has at now.
func (v view) of(s *session.Snapshot, now time.Time) view {
	text := v.Text.describe(s.Reason.Code)
	v.State, v.Message, v.Action = s.State, text.Message, text.Action
	if s.State == session.Ready {
		v.Message = cmp.Or(v.Message, v.Text.UI["readyMessage"])
	}
	v.Headline = cmp.Or(v.Text.Headlines[s.Reason.Code], v.Text.States[s.State])
	for _, w := range s.Warnings {
		text := v.Text.describe(w.Code)
		v.Warnings = append(v.Warnings, session.Reason{Message: text.Message, Action: text.Action, Detail: w.Detail})
	}
	v.Refresh = slowRefresh
	if q := s.FreshQR(now); q != nil {
		v.HasQR, v.Refresh = true, min(slowRefresh, 1+int(q.ExpiresAt.Sub(now).Seconds()))
	}
	return v
}
