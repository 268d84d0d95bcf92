// Package webui is the page for people: one HTML file that needs nothing else,
// in English and Spanish. It follows the session by server-sent events.
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

// Commands says which buttons and links the page shows.
type Commands struct{ Restart, LogOut, Pair, Crashes bool }

// UI renders the page. It is immutable.
type UI struct {
	page      *template.Template
	languages map[string]texts
	can       Commands
	policy    string
}

// texts is everything that the page says in one language. The page's script
// reads it under these names.
type texts struct {
	Language string
	States   map[session.State]string
	Steps    []string
	Phases   map[string]string
	UI       map[string]string
	Reasons  map[reason.Code]reason.Text
}

// New prepares the page with buttons for the commands that there are.
func New(can Commands) (*UI, error) {
	page, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return nil, fmt.Errorf("internal error: cannot parse the page: %w", err)
	}
	u := &UI{page: page, can: can, languages: map[string]texts{}, policy: policy()}
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

// policy lets run exactly the page's own script and style, and nothing that
// another host serves.
func policy() string {
	return "default-src 'none'; script-src '" + hash(pageJS) + "'; style-src '" + hash(pageCSS) + "'; " +
		"img-src 'self' blob: data:; connect-src 'self'; form-action 'self'; base-uri 'none'; " +
		"frame-ancestors 'none'; require-trusted-types-for 'script'"
}

func hash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// Policy is the page's Content-Security-Policy.
func (u *UI) Policy() string { return u.policy }

// view is what the template is given. Style and Script are embedded files, and
// must not be escaped: the policy names their hashes.
type view struct {
	Language, Headline, Message, Action string
	State                               session.State
	Text                                texts
	Can                                 Commands
	Style                               template.CSS
	Script                              template.JS
}

// Render returns the page in the language that the Accept-Language header
// prefers, and that language. It tells of s until the page's script takes over.
func (u *UI) Render(s *session.Snapshot, acceptLanguage string) (page []byte, language string, err error) {
	t := u.languages[choose(acceptLanguage)]
	text, ok := t.Reasons[s.Reason.Code]
	if !ok {
		text = reason.Describe(s.Reason.Code)
	}
	var out bytes.Buffer
	err = u.page.Execute(&out, view{
		Language: t.Language, State: s.State, Headline: t.States[s.State], Message: text.Message, Action: text.Action,
		Text: t, Can: u.can,
		Style: template.CSS(pageCSS), Script: template.JS(pageJS), //nolint:gosec // embedded, and named by hash in the policy
	})
	if err != nil {
		return nil, "", fmt.Errorf("cannot render the page: %w", err)
	}
	return out.Bytes(), t.Language, nil
}
