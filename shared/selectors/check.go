package selectors

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// flaw is one thing that is wrong in a file, and where.
type flaw struct {
	path   []string
	reason string
}

// step is one name of a Path, perhaps called.
var step = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*(\(\))?$`)

var facts = []Fact{
	FactVersion, FactSocketState, FactSocketStream, FactMode, FactHasSynced, FactNetworkOnline, FactRef, FactRefTTL,
	FactNoiseKey, FactIdentityKey, FactADVSecret, FactPlatform, FactPrefixed, FactProgress,
	FactLinkMethod,
}

var sockets = []Socket{
	SocketOpening, SocketPairing, SocketUnpaired, SocketIdle, SocketConnected, SocketConflict, SocketProxyBlocked,
	SocketTerms, SocketLocked,
}

var methods = []Method{MethodQR, MethodCode, MethodPasskey}

var screens = []ScreenName{
	ScreenMain, ScreenQR, ScreenPhoneEntry, ScreenPhoneCode, ScreenPasskey, ScreenSyncing, ScreenConflict,
	ScreenOtherTab, ScreenOffline, ScreenProxyBlocked, ScreenTerms, ScreenBanned, ScreenServiceUnavailable,
	ScreenLoggingOut, ScreenLocked, ScreenUnsupported, ScreenOutdated, ScreenStorageFailed,
}

// check returns the first flaw of k.
func (k *Set) check() (flaw, bool) {
	for _, check := range []func() (flaw, bool){
		k.checkScalars, k.checkReaders, k.checkFacts, k.checkEvents, k.checkSockets, k.checkCommands, k.checkTexts, k.checkScreens,
	} {
		if f, bad := check(); bad {
			return f, true
		}
	}
	return flaw{}, false
}

func (k *Set) checkScalars() (flaw, bool) {
	if k.Format != Format {
		return flaw{[]string{"format"}, fmt.Sprintf("is %d, this worker reads %d", k.Format, Format)}, true
	}
	for _, s := range []struct {
		path  []string
		value string
	}{
		{[]string{"loader", "require"}, k.Loader.Require},
		{[]string{"dom", "code"}, k.DOM.Code},
		{[]string{"dom", "code_attribute"}, k.DOM.CodeAttribute},
		{[]string{"dom", "overlay"}, k.DOM.Overlay},
		{[]string{"dom", "image"}, k.DOM.Image},
		{[]string{"dom", "splash"}, k.DOM.Splash},
		{[]string{"dom", "mount"}, k.DOM.Mount},
		{[]string{"dom", "progress"}, k.DOM.Progress},
		{[]string{"dom", "dialog"}, k.DOM.Dialog},
		{[]string{"dom", "auto_logout_frame"}, k.DOM.AutoLogoutFrame},
	} {
		if strings.TrimSpace(s.value) == "" {
			return flaw{s.path, "must not be empty"}, true
		}
	}
	if len(k.Storage.Registered) == 0 {
		return flaw{[]string{"storage", "registered"}, "must name at least one key"}, true
	}
	if k.QRPayload.ExtraFields < 0 || k.QRPayload.ExtraFields > 10 {
		return flaw{[]string{"qr_payload", "extra_fields"}, "must be from 0 to 10"}, true
	}
	for i, p := range k.QRPayload.Prefixes {
		if p == "" || strings.ContainsAny(p, ", \n") {
			return flaw{[]string{"qr_payload", "prefixes", strconv.Itoa(i)}, "must be an address without commas and spaces"}, true
		}
	}
	return flaw{}, false
}

func (k *Set) checkReaders() (flaw, bool) {
	path := []string{"readers", "use"}
	if len(k.Readers.Use) == 0 {
		return flaw{path, "must name at least one reader"}, true
	}
	for i, r := range k.Readers.Use {
		if !slices.Contains(AllReaders(), r) {
			return flaw{append(path, strconv.Itoa(i)), fmt.Sprintf("is not one of %q", AllReaders())}, true
		}
	}
	return flaw{}, false
}

func (k *Set) checkFacts() (flaw, bool) {
	for _, name := range facts {
		if _, ok := k.Facts[name]; !ok {
			return flaw{[]string{"facts"}, fmt.Sprintf("%q is missing", name)}, true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(k.Facts)) {
		path := []string{"facts", string(name)}
		if !slices.Contains(facts, name) {
			return flaw{path, "is no fact that the worker knows"}, true
		}
		for i, from := range k.Facts[name].From {
			if reason := checkPath(from.Path); reason != "" {
				return flaw{append(path, "from", strconv.Itoa(i), "path"), reason}, true
			}
		}
	}
	return flaw{}, false
}

func (k *Set) checkEvents() (flaw, bool) {
	for i, e := range k.Events {
		path := []string{"events", strconv.Itoa(i)}
		switch {
		case e.Module == "":
			return flaw{append(path, "module"), "must not be empty"}, true
		case e.Event == "":
			return flaw{append(path, "event"), "must not be empty"}, true
		case e.Path != "" && (checkPath(e.Path) != "" || strings.Contains(e.Path, "(")):
			return flaw{append(path, "path"), "must be names separated by dots"}, true
		}
	}
	return flaw{}, false
}

func (k *Set) checkSockets() (flaw, bool) {
	for _, name := range slices.Sorted(maps.Keys(k.SocketStates)) {
		if !slices.Contains(sockets, k.SocketStates[name]) {
			return flaw{[]string{"socket_states", name}, fmt.Sprintf("%q is none of %v", k.SocketStates[name], sockets)}, true
		}
	}
	return flaw{}, false
}

// checkCommands checks what a person can ask the page to do.
func (k *Set) checkCommands() (flaw, bool) {
	for _, name := range slices.Sorted(maps.Keys(k.Methods)) {
		if !slices.Contains(methods, k.Methods[name]) {
			return flaw{[]string{"link_methods", name}, fmt.Sprintf("%q is none of %v", k.Methods[name], methods)}, true
		}
	}
	if k.Pairing.CodeSeconds < 1 || k.Pairing.CodeSeconds > 3600 {
		return flaw{[]string{"pairing", "code_seconds"}, "must be from 1 to 3600"}, true
	}
	for _, of := range []struct {
		path  string
		calls []Call
	}{{"pairing", k.Pairing.Calls}, {"log_out", k.LogOut.Calls}} {
		for i, c := range of.calls {
			path := []string{of.path, "calls", strconv.Itoa(i)}
			switch {
			case c.Module == "":
				return flaw{append(path, "module"), "must not be empty"}, true
			case checkPath(c.Path) != "" || strings.Contains(c.Path, "("):
				return flaw{append(path, "path"), "must be names separated by dots"}, true
			}
		}
	}
	for _, s := range []struct{ name, value string }{
		{"input", k.Pairing.Input}, {"code", k.Pairing.Code}, {"code_attribute", k.Pairing.CodeAttribute}, {"refusal", k.Pairing.Refusal},
	} {
		if strings.TrimSpace(s.value) == "" {
			return flaw{[]string{"pairing", s.name}, "must not be empty"}, true
		}
	}
	return flaw{}, false
}

// named are a part of a file that is told by texts, and its path.
type named struct {
	path  []string
	texts Texts
}

func (k *Set) checkTexts() (flaw, bool) {
	b, r := k.Buttons, k.Pairing.Refusals
	all := []named{
		{[]string{"buttons", "reload"}, b.Reload.Texts}, {[]string{"buttons", "offline"}, b.Offline.Texts},
		{[]string{"buttons", "with_phone"}, b.WithPhone.Texts}, {[]string{"buttons", "with_qr"}, b.WithQR.Texts},
		{[]string{"buttons", "use_here"}, b.UseHere.Texts},
		{[]string{"pairing", "refusals", "phone"}, r.Phone.Texts}, {[]string{"pairing", "refusals", "too_many"}, r.TooMany.Texts},
		{[]string{"pairing", "refusals", "unavailable"}, r.Unavailable.Texts},
	}
	for i, s := range k.Screens {
		all = append(all, named{[]string{"screens", strconv.Itoa(i)}, s.Texts})
	}
	for _, n := range all {
		if f, bad := n.texts.check(shortest, append(n.path, "texts")...); bad {
			return f, true
		}
	}
	// What is looked for among buttons only may be as short as theirs are.
	for _, n := range []named{
		{[]string{"buttons", "next"}, b.Next.Texts}, {[]string{"buttons", "menu"}, b.Menu.Texts}, {[]string{"buttons", "log_out"}, b.LogOut.Texts},
	} {
		if f, bad := n.texts.check(1, append(n.path, "texts")...); bad {
			return f, true
		}
	}
	return flaw{}, false
}

func (k *Set) checkScreens() (flaw, bool) {
	seen := map[ScreenName]bool{}
	for i, s := range k.Screens {
		path := []string{"screens", strconv.Itoa(i)}
		switch {
		case !slices.Contains(screens, s.Name):
			return flaw{append(path, "name"), fmt.Sprintf("%q is none of %v", s.Name, screens)}, true
		case seen[s.Name]:
			return flaw{append(path, "name"), fmt.Sprintf("%q is there twice", s.Name)}, true
		case len(s.Selectors) == 0 && len(s.Texts) == 0:
			return flaw{path, "needs a selector or a text"}, true
		}
		seen[s.Name] = true
		for j, sel := range s.Selectors {
			if strings.TrimSpace(sel) == "" {
				return flaw{append(path, "selectors", strconv.Itoa(j)), "must not be empty"}, true
			}
		}
	}
	for _, name := range screens {
		if !seen[name] {
			return flaw{[]string{"screens"}, fmt.Sprintf("%q is missing", name)}, true
		}
	}
	return flaw{}, false
}

// shortest is the least length of a fragment that is looked for in any text.
const shortest = 5

// check refuses what can never match or would always match: the page's text is
// compared in lower case.
func (t Texts) check(shortest int, path ...string) (flaw, bool) {
	for _, lang := range slices.Sorted(maps.Keys(t)) {
		for i, text := range t[lang] {
			at := append(slices.Clone(path), lang, strconv.Itoa(i))
			if len([]rune(text)) < shortest {
				return flaw{at, "is too short to be told from other text"}, true
			}
			if text != strings.ToLower(text) {
				return flaw{at, "must be in lower case"}, true
			}
		}
	}
	return flaw{}, false
}

func checkPath(p string) string {
	for s := range strings.SplitSeq(p, ".") {
		if !step.MatchString(s) {
			return fmt.Sprintf("%q is no name, and no name with ()", s)
		}
	}
	return ""
}
