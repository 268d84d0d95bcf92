package target

import (
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"session-manager/shared/rpc"
	"session-manager/shared/selectors"
	"session-manager/worker/internal/page/qrpayload"
)

var (
	//go:embed observe.js
	observeJS string
	//go:embed tools.js
	toolsJS string
	//go:embed act.js
	actJS string
	//go:embed calls.js
	callsJS string
	//go:embed message.js
	messageJS string
	//go:embed inbox.js
	inboxJS string
	//go:embed inboxfiles.js
	inboxFilesJS string
	//go:embed messageacts.js
	messageActsJS string
	//go:embed passkey.js
	passkeyJS string
	//go:embed typing.js
	typingJS string
	//go:embed hint.js
	hintJS string
	//go:embed image.js
	imageJS string
	//go:embed look.js
	lookJS string
)

// Binding is the function in the isolated world that hint.js calls, News what it is called
// with when there are news about our messages, and Arrived when there are others.
const (
	Binding = "hint"
	News    = "news"
	Arrived = "arrived"
)

// Scripts are a selectors file and what it makes of our scripts. They are immutable.
type Scripts struct {
	*selectors.Set
	// Observe is an expression that makes the object that reads a document, Act one
	// that finds what a person would press, and Look one that looks at the picture of the
	// code. Hint sets up the isolated world to report when it is worth observing.
	Observe, Act, Look, Hint string
	// Passkey makes the object that answers one request for a passkey.
	Passkey string
	// Typing is an expression that makes what finds where to write.
	Typing string
	// Image is the function that looks at the image it is called on. Message and Inbox make
	// the objects that send and receive messages of the Tool's ledger they are called on.
	Image, Message, Inbox string
}

// Compile makes the scripts of a file; an empty one stands for the built-in
// selectors. Errors match rpc.ErrSelectors.
func Compile(file []byte) (*Scripts, error) {
	k, err := selectors.Read(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", rpc.ErrSelectors, err)
	}
	watched, calm := []string{k.DOM.Splash, k.DOM.AutoLogoutFrame}, []string{}
	for _, s := range k.Screens {
		watched = append(watched, s.Selectors...)
		if s.Name == selectors.ScreenMain {
			calm = append(calm, s.Selectors...)
		}
	}
	all, err := json.Marshal(k)
	if err != nil {
		return nil, fmt.Errorf("cannot encode selectors: %w", err)
	}
	functions, err := json.Marshal(map[string]any{"loader": k.Loader, "sending": k.Sending, "receiving": k.Receiving}) // the page keeps each script
	if err != nil {
		return nil, fmt.Errorf("cannot encode selectors: %w", err)
	}
	some, err := json.Marshal(map[string]any{ // what hint.js needs
		"code": k.DOM.Code, "attribute": k.DOM.CodeAttribute, "overlay": k.DOM.Overlay, "image": k.DOM.Image,
		"selectors": watched, "calm": calm,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot encode selectors: %w", err)
	}
	// The page could see the DOM event that takes a hint from its world to ours,
	// if it knew its name.
	ping, news, arrived := rand.Text(), rand.Text(), rand.Text()
	tools := fmt.Sprintf("(%s)(k)", strip(toolsJS, "(function"))
	onLedger := func(script, name, part string) string {
		return fmt.Sprintf("function () { const k = %s; return (%s)(k, %s, %s, this, %q, %s); }",
			functions, strip(script, "(function"), tools, strip(callsJS, "(function"), name, strip(part, "(function"))
	}
	return &Scripts{
		Set:     k,
		Observe: fmt.Sprintf("((k) => (%s)(k, %s, %q))(%s)", strip(observeJS, "(function"), tools, ping, all),
		Look:    fmt.Sprintf("((k) => (%s)(k, %s))(%s)", strip(lookJS, "(function"), tools, all),
		Image:   fmt.Sprintf("function () { const k = %s; return (%s).call(this, k, %s); }", all, strip(imageJS, "(function"), tools),
		Message: onLedger(messageJS, news, messageActsJS), Inbox: onLedger(inboxJS, arrived, inboxFilesJS),
		Typing: fmt.Sprintf("((k) => (%s)(k, %s, %s))(%s)", strip(typingJS, "(function"), tools, strip(callsJS, "(function"), all),
		Act:    fmt.Sprintf("((k) => (%s)(k, %s))(%s)", strip(actJS, "(function"), tools, all),
		Hint: fmt.Sprintf("(%s)(%s, %q, { %q: %q, %q: %q }, %q)",
			strip(hintJS, "(function"), some, ping, news, News, arrived, Arrived, Binding),
		Passkey: fmt.Sprintf("(%s)(%d)", strip(passkeyJS, "(function"), rpc.MaxPasskeyOptions),
	}, nil
}

// strip removes what comes before the first words of the code, and the line
// break after it.
func strip(script, first string) string {
	return strings.TrimSpace(script[max(0, strings.Index(script, first)):])
}

// Uses reports whether the reader may be used.
func (s *Scripts) Uses(reader selectors.Reader) bool { return slices.Contains(s.Readers.Use, reader) }

// Parse takes apart a QR payload.
func (s *Scripts) Parse(text string) (qrpayload.Code, error) {
	return qrpayload.Parse(text, s.QRPayload)
}

// LoggedOut reports whether an address is that of an ended session, and if so why
// it ended, for people.
func (s *Scripts) LoggedOut(address string) (why string, ended bool) {
	if !ContainsAny(address, s.URLs.LoggedOut) {
		return "", false
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", true
	}
	return s.URLs.LogoutReasons[u.Query().Get(s.URLs.LogoutReasonParameter)], true
}

// IsSocket reports whether the address of a websocket is that of the connection of the
// page from this host: WhatsApp Web uses two ports of its own host, and what a page
// connects to elsewhere proves nothing.
func (s *Scripts) IsSocket(address, host string) bool {
	const longest = 4096
	if len(address) > longest {
		return false
	}
	u, err := url.Parse(address)
	return err == nil && strings.EqualFold(u.Hostname(), host) && slices.ContainsFunc(s.URLs.Socket, func(path string) bool {
		return strings.HasPrefix(u.Path, path)
	})
}

// ContainsAny reports whether a text has one of the parts in it.
func ContainsAny(text string, parts []string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(text, part) })
}
