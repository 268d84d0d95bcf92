package page

import (
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"session-manager/shared/selectors"
	"session-manager/worker/internal/page/qrpayload"
)

//go:embed observe.js
var observeJS string

//go:embed tools.js
var toolsJS string

//go:embed act.js
var actJS string

//go:embed hint.js
var hintJS string

// lens is selectors made ready for use. It is immutable.
type compiled struct {
	k     *selectors.Set
	shape qrpayload.Shape
	// observe, act and hint are the expressions that set up a document.
	observe, act, hint string
}

// forHints is the part of the selectors that hint.js needs.
type forHints struct {
	Code      string   `json:"code"`
	Attribute string   `json:"attribute"`
	Overlay   string   `json:"overlay"`
	Picture   string   `json:"picture"`
	Selectors []string `json:"selectors"`
	Calm      []string `json:"calm"`
}

func newLens(k *selectors.Set) (*compiled, error) {
	all, err := json.Marshal(k)
	if err != nil {
		return nil, fmt.Errorf("cannot encode selectors: %w", err)
	}
	h := forHints{
		Code: k.DOM.Code, Attribute: k.DOM.CodeAttribute, Overlay: k.DOM.Overlay, Picture: k.DOM.Picture,
		Selectors: []string{k.DOM.Splash, k.DOM.AutoLogoutFrame}, Calm: []string{},
	}
	for _, s := range k.Screens {
		h.Selectors = append(h.Selectors, s.Selectors...)
		if s.Name == selectors.ScreenMain {
			h.Calm = append(h.Calm, s.Selectors...)
		}
	}
	some, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("cannot encode selectors: %w", err)
	}
	// The page could see the DOM event that takes a hint from its world to ours,
	// if it knew its name.
	ping := rand.Text()
	tools := fmt.Sprintf("(%s)(k)", strip(toolsJS, "(function"))
	return &compiled{
		k:       k,
		shape:   qrpayload.Shape{Prefixes: k.Login.Prefixes, ExtraFields: k.Login.ExtraFields},
		observe: fmt.Sprintf("((k) => (%s)(k, %s, %q))(%s)", strip(observeJS, "(function"), tools, ping, all),
		act:     fmt.Sprintf("((k) => (%s)(k, %s))(%s)", strip(actJS, "(function"), tools, all),
		hint:    fmt.Sprintf("(%s)(%s, %q, %q)", strip(hintJS, "(function"), some, ping, hintBinding),
	}, nil
}

// strip removes what comes before the first words of the code, and the line
// break after it.
func strip(script, first string) string {
	return strings.TrimSpace(script[max(0, strings.Index(script, first)):])
}

// uses tells whether the reader may tell the login string.
func (l *compiled) uses(reader selectors.Reader) bool {
	return slices.Contains(l.k.Readers.Use, selectors.Reader(reader))
}

// accepts tells whether text is a login string.
func (l *compiled) accepts(text string) bool {
	_, err := l.shape.Parse(text)
	return err == nil
}

// endsSession tells whether an address is that of an ended session, and if so
// why it ended, for people.
func (l *compiled) endsSession(address string) (why string, ended bool) {
	if !containsAny(address, l.k.URLs.LoggedOut) {
		return "", false
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", true
	}
	return l.k.LogoutReasons[u.Query().Get(l.k.URLs.LogoutReasonParameter)], true
}

func containsAny(s string, parts []string) bool {
	for _, part := range parts {
		if strings.Contains(s, part) {
			return true
		}
	}
	return false
}
