// Package selectors holds what the worker knows about the page that it drives:
// names of modules, selectors, texts and addresses. It is data, embedded from
// selectors.json and replaceable at run time, so that editing a file is the answer
// to a change of the page. Nothing else in the worker names any of it.
package selectors

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"session-manager/shared/strictjson"
)

// Format is the version of the file's layout that this package reads.
const Format = 4

//go:embed selectors.json
var embedded []byte

// Set is one such file. It is immutable after Parse, and safe for
// concurrent use.
type Set struct {
	Format    int       `json:"format"`
	About     string    `json:"about"`
	Readers   Readers   `json:"readers"`
	QRPayload QRPayload `json:"qr_payload"`
	URLs      URLs      `json:"urls"`
	Storage   Storage   `json:"storage"`
	Loader    Loader    `json:"loader"`
	// Facts are what is read from the page's modules. A file must say where each comes
	// from, even if that is an empty list.
	Facts  map[string]Source `json:"facts"`
	Events []Event           `json:"events"`
	Words  Words             `json:"words"`
	Commands
	DOM DOM `json:"dom"`
	// Buttons are those that are pressed, and "offline", which never is.
	Buttons map[string]Button `json:"buttons"`
	Screens []Screen          `json:"screens"`
}

// Commands are how the page is made to do what it is asked for.
type Commands struct {
	Pairing Pairing `json:"pairing"`
	Passkey Passkey `json:"passkey"`
	LogOut  LogOut  `json:"log_out"`
	Sending Sending `json:"sending"`
	// Typing is how a person writes a message.
	Typing Typing `json:"typing"`
	// Receiving is also used for what is done to messages that were received.
	Receiving Receiving `json:"receiving"`
}

// Readers lists who may find the QR payload.
type Readers struct {
	About string   `json:"about"`
	Use   []Reader `json:"use"`
}

// Reader names one way of finding the QR payload.
type Reader string

// The readers, from the cheapest to the most expensive.
const (
	// ReaderDOM reads the attribute from which the page draws its code.
	ReaderDOM Reader = "dom"
	// ReaderModules assembles the payload from the page's own modules.
	ReaderModules Reader = "modules"
	// ReaderImage decodes the images in the document.
	ReaderImage Reader = "image"
	// ReaderScreenshot decodes a screenshot, as a phone's camera would.
	ReaderScreenshot Reader = "screenshot"
)

// AllReaders returns the readers, the cheapest first.
func AllReaders() []Reader {
	return []Reader{ReaderDOM, ReaderModules, ReaderImage, ReaderScreenshot}
}

// QRPayload is the form of the string behind the QR code.
type QRPayload struct {
	About    string   `json:"about"`
	Prefixes []string `json:"prefixes"`
	// ExtraFields is how many fields of unknown form may follow the known six.
	ExtraFields int `json:"extra_fields"`
}

// URLs are parts of addresses by which a page is recognised.
type URLs struct {
	About                 string   `json:"about"`
	LoggedOut             []string `json:"logged_out"`
	LogoutReasonParameter string   `json:"logout_reason_parameter"`
	// LogoutReasons explain the parameter's values.
	LogoutReasons map[string]string `json:"logout_reasons"`
	Unsupported   []string          `json:"unsupported"`
	// Socket are how the path of the page's connection to its server begins. Its host is
	// the page's.
	Socket []string `json:"socket"`
}

// Storage names keys of localStorage.
type Storage struct {
	About string `json:"about"`
	// Registered are the keys that are all there when the account is linked.
	Registered []string `json:"registered"`
	// Remains are keys that only a linked account leaves: one of them without all
	// of the others is what is left of a login.
	Remains []string `json:"remains"`
}

// Loader names the globals of the page's module loader.
type Loader struct {
	About          string `json:"about"`
	Namespace      string `json:"namespace"`
	Require        string `json:"require"`
	RegistryModule string `json:"registry_module"`
	Registry       string `json:"registry"`
}

// Source lists where a fact comes from; the first that answers wins.
type Source struct {
	About string `json:"about"`
	From  []Path `json:"from"`
}

// Path leads to a value: from a module, or from the global object when Module
// is empty. Steps are separated by dots; one that ends in "()" is called
// without arguments, and what it returns is awaited.
type Path struct {
	Module string `json:"module,omitempty"`
	Path   string `json:"path"`
}

// Event is one that an emitter in the page sends to its listeners. It only
// triggers an early observation.
type Event struct {
	About  string `json:"about"`
	Module string `json:"module"`
	Path   string `json:"path"`
	Event  string `json:"event"`
	// Passkey is the stage of a passkey that it means, if it does (rpc.PasskeyStage). Its
	// first argument is the code or the reason.
	Passkey string `json:"passkey,omitempty"`
}

// Words translate the page's own words.
type Words struct {
	About         string            `json:"about"`
	SocketStates  map[string]Socket `json:"socket_states"`
	SocketStreams map[string]Stream `json:"socket_streams"`
	LinkMethods   map[string]Method `json:"link_methods"`
}

// Socket is our word for a state of the page's connection.
type Socket string

// States of the connection. The empty one means that the modules don't answer.
const (
	SocketOpening      Socket = "opening"
	SocketPairing      Socket = "pairing"
	SocketUnpaired     Socket = "unpaired"
	SocketIdle         Socket = "idle"
	SocketConnected    Socket = "connected"
	SocketConflict     Socket = "conflict"
	SocketProxyBlocked Socket = "proxy_blocked"
	SocketTerms        Socket = "terms"
	SocketLocked       Socket = "locked"
)

// Stream is our word for whether the server has accepted the page's login.
type Stream string

// States of the stream. The empty one means that the modules don't answer.
const (
	StreamLoggedIn  Stream = "logged_in"
	StreamLoggedOut Stream = "logged_out"
)

// Method is our word for the way in which the page means to be linked.
type Method string

// Ways to link. The empty one means that the modules don't answer.
const (
	MethodQR      Method = "qr"
	MethodCode    Method = "code"
	MethodPasskey Method = "passkey"
)

// Call is a function of a module, and what it is called with. Unlike a Path it
// acts, so it is only called when a person has asked for it.
type Call struct {
	Module string `json:"module"`
	Path   string `json:"path"`
	// Arguments are JSON values; the string "$phone" stands for the phone number,
	// digits only.
	Arguments []any `json:"arguments"`
}

// Pairing is how to get a code that links a phone without a camera.
type Pairing struct {
	About string `json:"about"`
	// CodeSeconds is how long a code can be used.
	CodeSeconds int `json:"code_seconds"`
	// Calls are made in order; the last one returns the code.
	Calls []Call `json:"calls"`
	// Input takes the phone number; Code shows the code, in CodeAttribute if it
	// has it, and in its text otherwise; Refusal explains why not.
	Input         string             `json:"input"`
	Code          string             `json:"code"`
	CodeAttribute string             `json:"code_attribute"`
	Refusal       string             `json:"refusal"`
	Refusals      map[string]Refusal `json:"refusals"`
}

// Refusal is a reason for which the page gives no code. It is recognised by the error
// that the page's modules throw, which has the form {name, type: {name, value: {code}}},
// or by what the page shows. The error's message proves nothing: it may list the names
// of all errors.
type Refusal struct {
	About string `json:"about"`
	// Names are those of the error's type, or else of the error.
	Names []string `json:"names"`
	// Codes are the status codes of the server's answer.
	Codes []int `json:"codes"`
	Texts Texts `json:"texts"`
}

// Passkey is how the page is linked by a passkey.
type Passkey struct {
	About string `json:"about"`
	// HandoffSeconds is for how long the page proves that the phone has scanned it,
	// OptionsSeconds how long its request is good for, and StepSeconds what each further
	// step may take.
	HandoffSeconds int `json:"handoff_seconds"`
	OptionsSeconds int `json:"options_seconds"`
	StepSeconds    int `json:"step_seconds"`
	// Prompt, Waiting and Code are what the cards of it show.
	Prompt  string `json:"prompt"`
	Waiting string `json:"waiting"`
	Code    string `json:"code"`
	// Begin, Confirm and Cancel are for buttons that can't be pressed.
	Begin   []Call `json:"begin"`
	Confirm []Call `json:"confirm"`
	Cancel  []Call `json:"cancel"`
}

// LogOut is how the page is made to end its link.
type LogOut struct {
	About string `json:"about"`
	Calls []Call `json:"calls"`
}

// Sending is how a message is sent and found again.
type Sending struct {
	About string `json:"about"`
	// Functions are called, unlike those of facts with arguments, or are collections
	// that are asked. One without a path is the module itself. A file must say where each
	// comes from, even if that is an empty list.
	Functions map[string]Source `json:"functions"`
	// Names are what the properties, arguments and words around them are called.
	Names map[string]string `json:"names"`
	// Refusals are the server's codes behind the page's words for them.
	Refusals map[string]int `json:"refusals"`
	// Prepared and Uploaded are what a message takes over from the two results that a file
	// has given: its own name of each, and theirs.
	Prepared map[string]string `json:"prepared"`
	Uploaded map[string]string `json:"uploaded"`
}

// Receiving is how received messages are read.
type Receiving struct {
	About string `json:"about"`
	// Functions and Names are like those of Sending.
	Functions map[string]Source `json:"functions"`
	Names     map[string]string `json:"names"`
	// FirstRow is the number of the first row that may be of a message that is new.
	FirstRow int64 `json:"first_row"`
	// Types are what is reported for the page's types of messages, empty for what is no
	// message.
	Types map[string]string `json:"types"`
}

// Typing has lists of selectors of what a person uses to write a message; RowID is the
// attribute that names a row.
type Typing struct {
	About     string   `json:"about"`
	NewChat   []string `json:"new_chat"`
	Search    []string `json:"search"`
	Chat      []string `json:"chat"`
	Composer  []string `json:"composer"`
	Send      []string `json:"send"`
	Recording []string `json:"recording"`
	Dialog    []string `json:"dialog"`
	Close     []string `json:"close"`
	Row       []string `json:"row"`
	RowID     []string `json:"row_id"`
	RowText   []string `json:"row_text"`
	// Pending, Sent, Delivered and Read are the signs of an own row's state.
	States
}

// States are the signs of how far a row's message has come.
type States struct {
	Pending   []string `json:"pending"`
	Sent      []string `json:"sent"`
	Delivered []string `json:"delivered"`
	Read      []string `json:"read"`
}

// DOM holds the selectors of what carries no text.
type DOM struct {
	About           string `json:"about"`
	Code            string `json:"code"`
	CodeAttribute   string `json:"code_attribute"`
	Overlay         string `json:"overlay"`
	Image           string `json:"image"`
	Splash          string `json:"splash"`
	Mount           string `json:"mount"`
	Progress        string `json:"progress"`
	Dialog          string `json:"dialog"`
	AutoLogoutFrame string `json:"auto_logout_frame"`
}

// Texts are fragments in lower case by language ("en", "pt").
type Texts map[string][]string

// Button is recognised by a selector, or else by its text or label.
type Button struct {
	About     string   `json:"about"`
	Selectors []string `json:"selectors,omitempty"`
	Texts     Texts    `json:"texts"`
}

// ScreenName is our word for a screen of the page.
type ScreenName string

// The screens that the worker distinguishes.
const (
	ScreenMain               ScreenName = "main"
	ScreenQR                 ScreenName = "qr"
	ScreenPhoneEntry         ScreenName = "phone_entry"
	ScreenPhoneCode          ScreenName = "phone_code"
	ScreenPasskey            ScreenName = "passkey"
	ScreenSyncing            ScreenName = "syncing"
	ScreenConflict           ScreenName = "conflict"
	ScreenOtherTab           ScreenName = "other_tab"
	ScreenOffline            ScreenName = "offline"
	ScreenProxyBlocked       ScreenName = "proxy_blocked"
	ScreenTerms              ScreenName = "terms"
	ScreenBanned             ScreenName = "banned"
	ScreenServiceUnavailable ScreenName = "service_unavailable"
	ScreenLoggingOut         ScreenName = "logging_out"
	ScreenLocked             ScreenName = "locked"
	ScreenUnsupported        ScreenName = "unsupported"
	ScreenOutdated           ScreenName = "outdated"
	ScreenStorageFailed      ScreenName = "storage_failed"
)

// Screen is recognised by any of its selectors, or by any of its texts.
type Screen struct {
	Name      ScreenName `json:"name"`
	About     string     `json:"about"`
	Selectors []string   `json:"selectors"`
	// InDialog limits Texts to those of dialogs.
	InDialog bool  `json:"in_dialog,omitempty"`
	Texts    Texts `json:"texts"`
}

// Read parses a file; an empty one stands for the one that is built in.
func Read(file []byte) (*Set, error) {
	if len(file) == 0 {
		file = embedded
	}
	return Parse(file)
}

// Parse reads a file. Its error names the line and what is wrong there. Keys that
// the worker doesn't know are refused, since a misspelt one would silently blind a
// reader.
func Parse(data []byte) (*Set, error) {
	var version struct {
		Format int `json:"format"`
	}
	if json.Unmarshal(data, &version) == nil && version.Format != Format {
		return nil, fmt.Errorf(
			"cannot read selectors: line %d: format: is %d, this worker reads %d: make the changes again in the file that comes with it",
			lineOf(data, []string{"format"}), version.Format, Format,
		)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	k := new(Set)
	if err := dec.Decode(k); err != nil {
		return nil, fmt.Errorf("cannot read selectors: line %d: %w", lineOfError(data, dec, err), err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("cannot read selectors: line %d: more follows after the object", lineAt(data, dec.InputOffset()))
	}
	if twice, ok := errors.AsType[*strictjson.KeyError](strictjson.Check(data)); ok {
		return nil, fmt.Errorf("cannot read selectors: line %d: %w", lineAt(data, twice.Offset), twice)
	}
	if flaw := k.check(); flaw.reason != "" {
		return nil, fmt.Errorf("cannot read selectors: line %d: %s: %s", lineOf(data, strings.Split(flaw.path, ".")), flaw.path, flaw.reason)
	}
	return k, nil
}
