package selectors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// step is one name of a Path, perhaps called.
var step = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*(\(\))?$`)

// Names that the maps of a file must have, and no others.
var (
	facts = []string{
		"version", "socket_state", "socket_stream", "mode", "has_synced", "network_online", "ref", "ref_ttl",
		"noise_key", "identity_key", "adv_secret", "platform", "prefixed", "progress", "link_method",
	}
	buttons = []string{"reload", "offline", "with_phone", "next", "with_qr", "dismiss", "use_here", "menu", "log_out",
		"passkey_continue", "passkey_confirm", "passkey_cancel", "challenge_continue"}
	refusals      = []string{"phone", "forbidden", "too_many", "failed", "unavailable"}
	sendFunctions = []string{
		"wid", "exists", "lid_of", "phone_of", "own_phone", "own_lid", "chats", "messages", "blocked", "make_chat", "key",
		"text_data", "send", "resend", "resend_in", "rows", "load", "edit", "edit_again", "may_edit", "may_edit_caption",
		"revoke", "may_revoke", "may_revoke_any", "open_chat", "refresh_group", "react", "may_reply", "link", "preview", "offline_ended",
		"media_opaque", "media_prepare", "media_object", "media_type", "media_upload", "media_limit",
		"prefs", "timelocked", "may_while_timelocked", "capped", "may_while_capped",
	}
	sendNames = []string{
		"ack_event", "get", "on", "off", "wid_text", "make_chat_origin", "made_chat", "chat_id", "chat_lid", "chat_active",
		"chat_contact", "chat_read_only", "chat_token", "chat_received", "asked_chat", "asked_contact", "found_wid",
		"found_business", "found_business_info", "option_quoted", "option_mentions", "option_preview", "preview_data",
		"data_id", "data_from", "data_to", "key_from", "key_to", "key_id", "key_from_me", "key_remote", "key_participant",
		"key_direction", "key_outgoing", "message_id", "message_ack", "message_failed", "message_error", "message_resend",
		"message_type", "message_revoked", "message_text", "message_caption", "message_time", "message_edit", "key_parse",
		"revoke_kind", "revoke_messages", "revoke_list",
		"loaded", "result", "result_ok", "result_refusal", "result_time", "duplicate", "pref_timelock", "pref_capping",
		"pref_challenge", "timelock_ends", "capping_total", "capping_used", "capping_ends", "challenge_type", "challenge_passkey",
		"media_image", "media_video", "media_audio", "media_document", "media_as_document", "media_filename", "media_wait",
		"media_blob", "media_json", "media_consolidate", "media_release", "media_kind", "media_mime", "media_hash", "media_size",
		"media_of", "media_class", "media_entry", "media_path", "media_key", "media_caption", "media_body", "media_too_large",
	}
)

// Names that receiving must have, and what its types may stand for.
var (
	receiveFunctions = []string{"table", "from_row", "mark_read", "ask_phone", "presence", "reaction_table", "reactions", "media_fetch"}
	receiveNames     = []string{
		"table_after", "table_get", "row_number", "limit", "key_parse", "add_event", "type_event", "body_event", "caption_event",
		"is_new", "message_type", "message_time", "message_body", "message_caption", "message_author", "message_name",
		"message_quoted", "message_edit", "media_mime", "media_size", "media_name", "available", "mark_available", "mark_unavailable",
		"table_any", "remove_event", "senders_event", "reaction_event", "reactions_list", "reaction_parent", "reaction_key",
		"reaction_sender", "reaction_text", "reaction_time", "reaction_orphan",
		"download", "download_large", "download_reason", "download_asked", "media_data", "media_stage", "stage_fetching", "stage_renewing",
		"stage_resolved", "stage_missing", "blob_force", "media_encrypted", "media_key_time", "fetch_signal", "fetch_log", "log_annotate",
		"log_point",
	}
	receivedTypes = []string{
		"", "text", "image", "video", "audio", "voice", "document", "sticker", "location", "contact", "poll", "interactive", "album",
		"revoked", "undecrypted",
	}
)

var sockets = []Socket{
	SocketOpening, SocketPairing, SocketUnpaired, SocketIdle, SocketConnected, SocketConflict, SocketProxyBlocked,
	SocketTerms, SocketLocked,
}

var streams = []Stream{StreamLoggedIn, StreamLoggedOut}

// stages are those of a passkey; an event without one is not about a passkey.
var stages = []string{"", "needed", "sent", "confirm", "failed"}

var methods = []Method{MethodQR, MethodCode, MethodPasskey}

var screens = []ScreenName{
	ScreenMain, ScreenQR, ScreenPhoneEntry, ScreenPhoneCode, ScreenPasskey, ScreenSyncing, ScreenConflict,
	ScreenOtherTab, ScreenOffline, ScreenProxyBlocked, ScreenTerms, ScreenBanned, ScreenServiceUnavailable,
	ScreenLoggingOut, ScreenLocked, ScreenUnsupported, ScreenOutdated, ScreenStorageFailed,
}

// checker keeps the first flaw of a file: its path, with dots, and what is wrong.
type checker struct{ path, reason string }

func (c *checker) fail(path, format string, args ...any) {
	if c.reason == "" {
		c.path, c.reason = path, fmt.Sprintf(format, args...)
	}
}

// check returns the first flaw of k; its reason is empty if k is valid.
func (k *Set) check() checker {
	c := new(checker)
	c.checkForm(k)
	c.checkModules(k)
	c.checkCommands(k)
	c.checkSending(k.Sending)
	c.checkTyping(k.Typing)
	c.checkReceiving(k.Receiving)
	c.checkTexts(k)
	c.checkScreens(k)
	return *c
}

// required refuses values that are empty; they follow their names below path.
func (c *checker) required(path string, namesAndValues ...string) {
	for pair := range slices.Chunk(namesAndValues, 2) {
		if strings.TrimSpace(pair[1]) == "" {
			c.fail(path+"."+pair[0], "must not be empty")
		}
	}
}

// among refuses a value that the worker does not know.
func among[T ~string](c *checker, path string, value T, known []T) {
	if !slices.Contains(known, value) {
		c.fail(path, "%q is not one of %q", value, known)
	}
}

// keys returns the sorted keys of a map, which must be the known ones.
func keys[T any](c *checker, path string, m map[string]T, known []string) []string {
	for _, name := range known {
		if _, ok := m[name]; !ok {
			c.fail(path, "%q is missing", name)
		}
	}
	found := slices.Sorted(maps.Keys(m))
	for _, name := range found {
		if !slices.Contains(known, name) {
			c.fail(path+"."+name, "is not known to the worker")
		}
	}
	return found
}

// names refuses what is not names separated by dots.
func (c *checker) names(path, names string) {
	for s := range strings.SplitSeq(names, ".") {
		if !step.MatchString(s) || strings.HasSuffix(s, ")") {
			c.fail(path, "must be names separated by dots")
		}
	}
}

// checkForm checks what carries no text.
func (c *checker) checkForm(k *Set) {
	c.required("loader", "require", k.Loader.Require)
	c.required(
		"dom", "code", k.DOM.Code, "code_attribute", k.DOM.CodeAttribute, "overlay", k.DOM.Overlay, "image", k.DOM.Image,
		"splash", k.DOM.Splash, "mount", k.DOM.Mount, "progress", k.DOM.Progress, "dialog", k.DOM.Dialog,
		"auto_logout_frame", k.DOM.AutoLogoutFrame,
	)
	if len(k.Storage.Registered) == 0 {
		c.fail("storage.registered", "must name at least one key")
	}
	if k.QRPayload.ExtraFields < 0 || k.QRPayload.ExtraFields > 10 {
		c.fail("qr_payload.extra_fields", "must be from 0 to 10")
	}
	for i, p := range k.QRPayload.Prefixes {
		if p == "" || strings.ContainsAny(p, ", \n") {
			c.fail(fmt.Sprintf("qr_payload.prefixes.%d", i), "must be an address without commas and spaces")
		}
	}
	for i, path := range k.URLs.Socket {
		if !strings.HasPrefix(path, "/") {
			c.fail(fmt.Sprintf("urls.socket.%d", i), "must be the beginning of a path, such as \"/ws\"")
		}
	}
	if len(k.Readers.Use) == 0 {
		c.fail("readers.use", "must name at least one reader")
	}
	for i, r := range k.Readers.Use {
		among(c, fmt.Sprintf("readers.use.%d", i), r, AllReaders())
	}
}

// checkModules checks what is read from the page's modules.
func (c *checker) checkModules(k *Set) {
	for _, name := range keys(c, "facts", k.Facts, facts) {
		for i, from := range k.Facts[name].From {
			for s := range strings.SplitSeq(from.Path, ".") {
				if !step.MatchString(s) {
					c.fail(fmt.Sprintf("facts.%s.from.%d.path", name, i), "%q is not a name, nor a name with ()", s)
				}
			}
		}
	}
	for i, e := range k.Events {
		path := fmt.Sprintf("events.%d", i)
		c.required(path, "module", e.Module, "event", e.Event)
		if e.Path != "" {
			c.names(path+".path", e.Path)
		}
		among(c, path+".passkey", e.Passkey, stages)
	}
	for _, word := range slices.Sorted(maps.Keys(k.Words.SocketStates)) {
		among(c, "words.socket_states."+word, k.Words.SocketStates[word], sockets)
	}
	for _, word := range slices.Sorted(maps.Keys(k.Words.SocketStreams)) {
		among(c, "words.socket_streams."+word, k.Words.SocketStreams[word], streams)
	}
	for _, word := range slices.Sorted(maps.Keys(k.Words.LinkMethods)) {
		among(c, "words.link_methods."+word, k.Words.LinkMethods[word], methods)
	}
}

// checkCommands checks what a person can ask the page to do.
func (c *checker) checkCommands(k *Set) {
	if k.Pairing.CodeSeconds < 1 || k.Pairing.CodeSeconds > 3600 {
		c.fail("pairing.code_seconds", "must be from 1 to 3600")
	}
	c.required(
		"pairing", "input", k.Pairing.Input, "code", k.Pairing.Code, "code_attribute", k.Pairing.CodeAttribute,
		"refusal", k.Pairing.Refusal,
	)
	c.checkCalls("pairing.calls", k.Pairing.Calls)
	c.checkCalls("log_out.calls", k.LogOut.Calls)
	for name, seconds := range map[string]int{
		"handoff_seconds": k.Passkey.HandoffSeconds, "options_seconds": k.Passkey.OptionsSeconds, "step_seconds": k.Passkey.StepSeconds,
	} {
		if seconds < 1 || seconds > 3600 {
			c.fail("passkey."+name, "must be from 1 to 3600")
		}
	}
	c.required("passkey", "prompt", k.Passkey.Prompt, "waiting", k.Passkey.Waiting, "code", k.Passkey.Code)
	c.checkCalls("passkey.begin", k.Passkey.Begin)
	c.checkCalls("passkey.confirm", k.Passkey.Confirm)
	c.checkCalls("passkey.cancel", k.Passkey.Cancel)
}

func (c *checker) checkCalls(path string, calls []Call) {
	for i, call := range calls {
		at := fmt.Sprintf("%s.%d", path, i)
		c.required(at, "module", call.Module)
		c.names(at+".path", call.Path)
	}
}

// checkSending checks what messages are sent by.
func (c *checker) checkSending(s Sending) {
	c.checkFunctions("sending", s.Functions, sendFunctions)
	c.checkNames("sending", s.Names, sendNames)
	for path, fields := range map[string]map[string]string{"sending.prepared": s.Prepared, "sending.uploaded": s.Uploaded} {
		if len(fields) == 0 {
			c.fail(path, "must not be empty")
		}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			c.required(path, name, fields[name])
		}
	}
	for _, word := range slices.Sorted(maps.Keys(s.Refusals)) {
		if code := s.Refusals[word]; code < 400 || code > 599 {
			c.fail("sending.refusals."+word, "must be from 400 to 599")
		}
	}
}

// checkReceiving checks what messages are received by.
func (c *checker) checkReceiving(r Receiving) {
	c.checkFunctions("receiving", r.Functions, receiveFunctions)
	c.checkNames("receiving", r.Names, receiveNames)
	if r.FirstRow < 1 {
		c.fail("receiving.first_row", "must be positive")
	}
	for _, word := range slices.Sorted(maps.Keys(r.Types)) {
		among(c, "receiving.types."+word, r.Types[word], receivedTypes)
	}
}

func (c *checker) checkFunctions(section string, functions map[string]Source, known []string) {
	for _, name := range keys(c, section+".functions", functions, known) {
		for i, from := range functions[name].From {
			path := fmt.Sprintf("%s.functions.%s.from.%d", section, name, i)
			c.required(path, "module", from.Module)
			if from.Path != "" {
				c.names(path+".path", from.Path)
			}
		}
	}
}

func (c *checker) checkNames(section string, names map[string]string, known []string) {
	for _, name := range keys(c, section+".names", names, known) {
		c.required(section+".names", name, names[name])
	}
}

// checkTyping checks that nothing is missing by which messages are typed.
func (c *checker) checkTyping(y Typing) {
	for _, list := range []struct {
		name      string
		selectors []string
	}{
		{"new_chat", y.NewChat}, {"search", y.Search}, {"chat", y.Chat}, {"composer", y.Composer}, {"send", y.Send}, {"recording", y.Recording},
		{"dialog", y.Dialog}, {"close", y.Close}, {"row", y.Row}, {"row_id", y.RowID}, {"row_text", y.RowText},
		{"pending", y.Pending}, {"sent", y.Sent}, {"delivered", y.Delivered}, {"read", y.Read},
	} {
		if len(list.selectors) == 0 || slices.Contains(list.selectors, "") {
			c.fail("typing."+list.name, "must not be empty")
		}
	}
}

// shortest is the least length of a fragment that is looked for in any text.
const shortest = 5

func (c *checker) checkTexts(k *Set) {
	for _, name := range keys(c, "buttons", k.Buttons, buttons) {
		least := shortest
		if slices.Contains([]string{"next", "dismiss", "menu", "log_out"}, name) {
			least = 1 // They are looked for among buttons only.
		}
		c.texts("buttons."+name, k.Buttons[name].Texts, least)
	}
	c.checkRefusals(k.Pairing.Refusals)
}

// checkRefusals refuses names and codes that could stand for two refusals, or never
// match.
func (c *checker) checkRefusals(all map[string]Refusal) {
	names, codes := map[string]bool{}, map[int]bool{}
	for _, kind := range keys(c, "pairing.refusals", all, refusals) {
		path := "pairing.refusals." + kind
		for i, name := range all[kind].Names {
			if at := fmt.Sprintf("%s.names.%d", path, i); strings.TrimSpace(name) == "" || names[name] {
				c.fail(at, "must be a name that no other refusal has")
			}
			names[name] = true
		}
		for i, code := range all[kind].Codes {
			if at := fmt.Sprintf("%s.codes.%d", path, i); code < 400 || code > 599 || codes[code] {
				c.fail(at, "must be from 400 to 599, and no other refusal may have it")
			}
			codes[code] = true
		}
		c.texts(path, all[kind].Texts, shortest)
	}
}

// texts refuses what can never match or would always match: the page's text is
// compared in lower case.
func (c *checker) texts(path string, t Texts, shortest int) {
	for _, lang := range slices.Sorted(maps.Keys(t)) {
		for i, text := range t[lang] {
			at := fmt.Sprintf("%s.texts.%s.%d", path, lang, i)
			if len([]rune(text)) < shortest {
				c.fail(at, "is too short to be distinguished from other text")
			}
			if text != strings.ToLower(text) {
				c.fail(at, "must be in lower case")
			}
		}
	}
}

func (c *checker) checkScreens(k *Set) {
	seen := map[ScreenName]bool{}
	for i, s := range k.Screens {
		path := fmt.Sprintf("screens.%d", i)
		among(c, path+".name", s.Name, screens)
		c.texts(path, s.Texts, shortest)
		if seen[s.Name] {
			c.fail(path+".name", "%q is there twice", s.Name)
		}
		if len(s.Selectors) == 0 && len(s.Texts) == 0 {
			c.fail(path, "needs a selector or a text")
		}
		seen[s.Name] = true
		for j, selector := range s.Selectors {
			c.required(path+".selectors", fmt.Sprint(j), selector)
		}
	}
	for _, name := range screens {
		if !seen[name] {
			c.fail("screens", "%q is missing", name)
		}
	}
}

// lineAt returns the line, from 1, of a byte offset.
func lineAt(data []byte, offset int64) int {
	offset = min(max(offset, 0), int64(len(data)))
	return 1 + bytes.Count(data[:offset], []byte{'\n'})
}

// lineOfError returns the line of a decoding error. For an unknown key the
// decoder knows only how far it has read, which is the value after it.
func lineOfError(data []byte, dec *json.Decoder, err error) int {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return lineAt(data, e.Offset)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return lineAt(data, e.Offset)
	}
	// The message is all there is of an unknown key.
	if _, key, ok := strings.Cut(err.Error(), "unknown field "); ok {
		if at := bytes.Index(data, []byte(key)); at >= 0 {
			return lineAt(data, int64(at))
		}
	}
	return lineAt(data, dec.InputOffset())
}

// lineOf returns the line of the value that path leads to, or of the last of
// its ancestors that exists. The data must be valid JSON.
func lineOf(data []byte, path []string) int {
	dec := json.NewDecoder(bytes.NewReader(data))
	for _, name := range path {
		if !descend(dec, name) {
			break
		}
	}
	return lineAt(data, dec.InputOffset())
}

// descend moves dec just before the member called name of the object, or the
// element with that number of the array, that comes next.
func descend(dec *json.Decoder, name string) bool {
	open, err := dec.Token()
	if err != nil {
		return false
	}
	for i := 0; dec.More(); i++ {
		key := strconv.Itoa(i)
		if open == json.Delim('{') {
			tok, err := dec.Token()
			if err != nil {
				return false
			}
			key, _ = tok.(string)
		}
		if key == name {
			return true
		}
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return false
		}
	}
	return false
}
