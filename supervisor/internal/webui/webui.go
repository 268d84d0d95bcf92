// Package webui is the page for people: one self-contained HTML file, in English
// and Spanish. It follows the session by server-sent events.
package webui

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"

	"session-manager/shared/reason"
	"session-manager/supervisor/internal/session"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

//go:embed en.json
var english []byte

//go:embed es.json
var spanish []byte

// UI renders the page. It is immutable.
type UI struct {
	page      *template.Template
	languages map[string]texts
	// Policy is the page's Content-Security-Policy.
	Policy string
}

// texts is every text of the page in one language. The page's script reads it
// under these names.
type texts struct {
	Language string
	States   map[session.State]string
	Steps    []string
	Phases   map[string]string
	UI       map[string]string
	Reasons  map[reason.Code]reason.Text
}

func (t texts) describe(c reason.Code) reason.Text {
	if text, ok := t.Reasons[c]; ok {
		return text
	}
	return reason.Describe(c)
}

// New prepares the page.
func New() (*UI, error) {
	page, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return nil, fmt.Errorf("internal error: cannot parse the page: %w", err)
	}
	u := &UI{page: page, languages: map[string]texts{}, Policy: policy()}
	for _, content := range [][]byte{english, spanish} {
		t := texts{Reasons: map[reason.Code]reason.Text{}}
		for _, c := range reason.Codes() {
			t.Reasons[c] = reason.Describe(c)
		}
		if err := json.Unmarshal(content, &t); err != nil {
			return nil, fmt.Errorf("internal error: cannot read the page's texts: %w", err)
		}
		u.languages[t.Language] = t
	}
	return u, nil
}

// policy allows exactly the page's own script and style, and nothing that another
// host serves.
func policy() string {
	return "default-src 'none'; script-src '" + hash(pageJS) + "'; style-src '" + hash(pageCSS) + "'; " +
		"img-src 'self' blob: data:; connect-src 'self'; form-action 'self'; base-uri 'none'; " +
		"frame-ancestors 'none'; require-trusted-types-for 'script'"
}

func hash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// view is the template's data. Style and Script are embedded files, and
// must not be escaped: the policy names their hashes.
type view struct {
	Language, Headline, Message, Action string
	State                               session.State
	Warnings                            []session.Reason
	Text                                texts
	Style                               template.CSS
	Script                              template.JS
}

// Languages returns the languages of the page; the first one is for people who
// understand none of them.
func Languages() []string { return []string{"en", "es"} }

// Render returns the page in one of Languages. It shows s until its script takes
// over.
func (u *UI) Render(s *session.Snapshot, language string) ([]byte, error) {
	t := u.languages[language]
	text := t.describe(s.Reason.Code)
	warnings := make([]session.Reason, len(s.Warnings))
	for i, w := range s.Warnings {
		text := t.describe(w.Code)
		warnings[i] = session.Reason{Message: text.Message, Action: text.Action, Detail: w.Detail}
	}
	var out bytes.Buffer
	err := u.page.Execute(&out, view{
		Language: t.Language, State: s.State, Headline: t.States[s.State], Message: text.Message, Action: text.Action,
		Warnings: warnings, Text: t,
		Style: template.CSS(pageCSS), Script: template.JS(pageJS), //nolint:gosec // embedded, and named by hash in the policy
	})
	if err != nil {
		return nil, fmt.Errorf("cannot render the page: %w", err)
	}
	return out.Bytes(), nil
}
