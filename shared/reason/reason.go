// Package reason is the catalogue of reasons for the session's state: a stable code
// for programs, a sentence for people, and what the operator can do.
package reason

import (
	"errors"
	"maps"
	"slices"
)

// Code is the stable name of a reason. The empty Code means no reason.
type Code string

// Reasons that come from the worker or Chrome.
const (
	Starting           Code = "starting"
	Stopping           Code = "stopping"
	RestartRequested   Code = "restart_requested"
	Maintenance        Code = "maintenance"
	SendsStuck         Code = "sends_stuck"
	ProfileReplaced    Code = "profile_replaced"
	WorkerCrashed      Code = "worker_crashed"
	WorkerHung         Code = "worker_hung"
	WorkerFlooded      Code = "worker_flooded"
	WorkerUnusable     Code = "worker_unusable"
	WorkerReplaced     Code = "worker_replaced"
	BrowserReplaced    Code = "browser_replaced"
	MemoryLimit        Code = "memory_limit"
	BrowserMissing     Code = "browser_missing"
	BrowserUnsupported Code = "browser_unsupported"
	BrowserCrashed     Code = "browser_crashed"
	BrowserHung        Code = "browser_hung"
	PaintingHung       Code = "painting_hung"
	NetworkHung        Code = "network_hung"
	BrowserStartFailed Code = "browser_start_failed"
	SandboxRefused     Code = "sandbox_refused"
	ProfileUnwritable  Code = "profile_unwritable"
	ProfileInUse       Code = "profile_in_use"
	DiskFull           Code = "disk_full"
	RuntimeUnwritable  Code = "runtime_unwritable"
	ResourcesExhausted Code = "resources_exhausted"
	ScratchFull        Code = "scratch_full"
	CrashLoop          Code = "crash_loop"
)

// Warnings about the files that settings name.
const (
	KeysUnusable        Code = "keys_unusable"
	CertificateUnusable Code = "certificate_unusable"
	SelectorsUnusable   Code = "selectors_unusable"
	SecretFileExposed   Code = "secret_file_exposed"
)

// Reasons that come from the page.
const (
	PageLoading        Code = "page_loading"
	PageLoadFailed     Code = "page_load_failed"
	PageCrashed        Code = "page_crashed"
	PageHung           Code = "page_hung"
	PageUnrecognised   Code = "page_unrecognised"
	WrongOrigin        Code = "wrong_origin"
	UnsupportedBrowser Code = "unsupported_browser"
	NetworkUnreachable Code = "network_unreachable"
	ProxyFailed        Code = "proxy_failed"
	CertificateInvalid Code = "certificate_invalid"
	HTTPError          Code = "http_error"
	ScanQR             Code = "scan_qr"
	QRUnreadable       Code = "qr_unreadable"
	PasskeyRequired    Code = "passkey_required"
	Syncing            Code = "syncing"
	SavingLogin        Code = "saving_login"
	SavingSlow         Code = "saving_slow"
	Reconnecting       Code = "reconnecting"
	Conflict           Code = "conflict"
	LoggedOut          Code = "logged_out"
	Banned             Code = "banned"
	TermsRequired      Code = "terms_required"
	ProxyBlocked       Code = "proxy_blocked"
	ServiceUnavailable Code = "service_unavailable"
	ScreenLocked       Code = "screen_locked"
	StorageFailed      Code = "storage_failed"
	PageOutdated       Code = "page_outdated"
	PairingRequested   Code = "pairing_requested"
	PairingCodeShown   Code = "pairing_code_shown"
	SyncStuck          Code = "sync_stuck"
	ConnectionSilent   Code = "connection_silent"
	LoginRefused       Code = "login_refused"
	PageReloading      Code = "page_reloading"
)

// Warnings about what WhatsApp lets the account send.
const (
	NewChatsRestricted Code = "new_chats_restricted"
	NewChatsCapped     Code = "new_chats_capped"
	ChallengeRequired  Code = "challenge_required"
)

// Warning is something that needs attention but leaves the session's state alone.
type Warning struct {
	Code Code
	// Detail is for people, and holds no secret.
	Detail string
}

// Text is what a person reads about a Code.
type Text struct {
	// Message is one sentence: what happened.
	Message string
	// Action is what the operator can do; empty when there is nothing to do.
	Action string
}

// Describe returns the text of c; the message of an unknown code is the code itself.
func Describe(c Code) Text {
	if t, ok := catalogue[c]; ok {
		return t
	}
	return Text{Message: string(c)}
}

// Killed explains that what was killed by SIGKILL, which nobody here has sent: the
// kernel does when memory is short, and notes it in its log.
func Killed(what string) string {
	return what + " was killed (SIGKILL) by something else; see journalctl -k"
}

// Known reports whether the catalogue has c.
func Known(c Code) bool {
	_, ok := catalogue[c]
	return ok
}

// Codes returns every code of the catalogue, in no order.
func Codes() []Code { return slices.Collect(maps.Keys(catalogue)) }

var catalogue = map[Code]Text{
	Starting:           {"The worker and Chrome are starting.", ""},
	Stopping:           {"The service is stopping.", ""},
	RestartRequested:   {"A restart was requested.", ""},
	SendsStuck:         {"The page did not get a message sent for a minute, and is restarted.", "Nothing, unless this repeats: the message is sent again under the same id. If it does, check this machine's network, and look at a screenshot."},
	Maintenance:        {"Chrome is closed briefly while the login is backed up, moved away or restored.", ""},
	ProfileReplaced:    {"The folder with the login was removed or replaced while Chrome was running; Chrome is being restarted with what is there now.", ""},
	WorkerCrashed:      {"The worker process crashed; a new one is being started.", ""},
	WorkerHung:         {"The worker process stopped responding and was killed; a new one is being started.", ""},
	WorkerFlooded:      {"The worker process sent more than it may and was killed; a new one is being started.", ""},
	WorkerUnusable:     {"The worker binary can't be run, or uses another protocol version than the supervisor.", "Run make build, so that bin/supervisor and bin/worker are the same version, or set --worker to the right file."},
	WorkerReplaced:     {"The worker binary was replaced; the new one is being started.", ""},
	BrowserReplaced:    {"Chrome was replaced on disk; the new one is being started.", ""},
	MemoryLimit:        {"The worker and Chrome used more memory than --memory-limit allows; they are being restarted.", ""},
	BrowserMissing:     {"No usable Chrome or Chromium was found.", "Install Google's google-chrome-stable, or on Debian chromium (apt-get install chromium; Ubuntu's is a snap, which can't be used), or set --chrome to its path. The service recovers automatically."},
	BrowserUnsupported: {"This browser is too old, or not a Chrome or Chromium that the service can control.", "The detail has its version and what is needed. Upgrade it (apt-get install chromium, or Google's google-chrome-stable), or set --chrome to another one. The service recovers automatically."},
	BrowserCrashed:     {"Chrome crashed; a new one is being started.", ""},
	BrowserHung:        {"Chrome stopped responding and was killed; a new one is being started.", ""},
	PaintingHung:       {"Chrome's GPU process stopped responding, so no QR could be shown; Chrome is being restarted.", ""},
	NetworkHung:        {"Chrome's network process stopped responding; Chrome is being restarted.", ""},
	BrowserStartFailed: {"Chrome exited or did not respond while it was starting.", "The log event worker_exited has Chrome's last lines."},
	SandboxRefused:     {"Chrome can't use its sandbox on this machine.", "Allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1; on Ubuntu install Google's package with its AppArmor profile)."},
	ProfileUnwritable:  {"The tokens folder, or the Chrome profile in it, can't be written.", "Make the folder writable for the service's user, or set --tokens to another one. The service recovers automatically."},
	ProfileInUse:       {"The profile is in use by a Chrome that this service did not start.", "Stop that Chrome (its pid is in the detail). The service recovers automatically."},
	DiskFull:           {"The profile's disk is out of space or inodes.", "Free some space. The service recovers automatically."},
	RuntimeUnwritable:  {"The folder for sockets and temporary files can't be written.", "Make it writable for the service's user: it is $RUNTIME_DIRECTORY under systemd, a folder in $TMPDIR otherwise. The service recovers automatically."},
	ScratchFull:        {"Chrome wrote more temporary files, caches or history than it may; it is being restarted without them.", ""},
	ResourcesExhausted: {"There are not enough file descriptors, processes or memory to start a worker.", "Raise the limits of the service (LimitNOFILE and TasksMax in its unit), or free memory. The service retries automatically."},
	CrashLoop:          {"The worker keeps failing, so restarts have been slowed down.", "The log events worker_exited explain why. POST /session/restart tries again at once."},

	KeysUnusable:        {"The file of --api-key-file can't be used; a minute later no key is valid.", "Fix the file. Its keys are valid again at once."},
	CertificateUnusable: {"The renewed certificate or its key can't be used; the one before stays in use until it expires.", "Fix the files of --tls-cert and --tls-key. They apply at once."},
	SelectorsUnusable:   {"The selectors file can't be used; the selectors before it stay in use.", "Fix the file, or remove it. It applies at once."},
	SecretFileExposed:   {"A file with a secret can be read or written by every user of this machine.", "Give it to the service's user alone: chmod 600."},

	NewChatsRestricted: {"WhatsApp does not let this account write to people that it has never talked to, for now.", "Wait, and write to fewer of them afterwards. Messages to them wait, those to known chats are sent."},
	NewChatsCapped:     {"This account has used up the new chats that WhatsApp allows for now.", "Wait until the detail's time. Messages to new people wait, those to known chats are sent."},
	ChallengeRequired:  {"WhatsApp asks the owner of this account to prove who they are.", "Sign with the passkey on the service's page, or by GET /session/passkey. If WhatsApp asks for something else, open it on the phone, and look at a screenshot."},

	PageLoading:        {"The page is loading.", ""},
	PageLoadFailed:     {"The page did not load in time.", "Check that this machine can reach the URL."},
	PageCrashed:        {"The page crashed; it is being reloaded.", ""},
	PageHung:           {"The page stopped responding; it is being reloaded.", ""},
	PageUnrecognised:   {"The page loaded, but the service does not recognise it.", "Look at a screenshot; WhatsApp may have changed its page."},
	WrongOrigin:        {"The page went to another site, of which nothing is used; it is being loaded again.", "Check --url, and that no proxy or captive portal redirects it."},
	UnsupportedBrowser: {"WhatsApp does not support this version of Chrome.", "Upgrade Chrome."},
	NetworkUnreachable: {"The network or WhatsApp's servers can't be reached.", "Check this machine's network, DNS and proxy. The service recovers automatically."},
	ProxyFailed:        {"The proxy can't be used.", "The detail explains why. Check --proxy, --proxy-password-file, and the proxy itself. The service recovers automatically."},
	CertificateInvalid: {"The server's certificate is not valid.", "Check this machine's clock, and that no proxy intercepts TLS."},
	HTTPError:          {"The server answered the request for the page with an error.", "Wait, or check the URL and the proxy."},
	ScanQR:             {"The account is not linked.", "In WhatsApp on the phone open Linked devices, tap Link a device, and scan the QR at /qr."},
	QRUnreadable:       {"The page asks to link a phone, but no scannable QR was found in it.", "Look at a screenshot; WhatsApp may have changed its page."},
	PasskeyRequired:    {"WhatsApp asks for the account's passkey before it links this device.", "Open the service's page in a browser, or GET /session/passkey, and sign there with the passkey: within 300 s no code has to be compared, and after 600 s WhatsApp's request is renewed."},
	SavingLogin:        {"The account is linked and connected; Chrome has not written the login to disk yet.", ""},
	SavingSlow:         {"Chrome has still not written the login to disk; a crash could lose it.", "Check the disk of the tokens folder: its health, and what else writes to it."},
	Syncing:            {"The account is linked; chats are being synchronised.", "Keep the phone online."},
	Reconnecting:       {"The account is linked; the page is connecting.", ""},
	Conflict:           {"WhatsApp Web is open elsewhere with this account.", "Close it there. The session is taken back after a minute, at most three times an hour."},
	LoggedOut:          {"The account was unlinked: on the phone, by WhatsApp, or by a command.", "Scan the new QR at /qr."},
	Banned:             {"WhatsApp has banned this account, temporarily or permanently.", "Open WhatsApp on the phone for details."},
	TermsRequired:      {"WhatsApp requires its terms of service to be accepted.", "Open WhatsApp on the phone and accept them."},
	ProxyBlocked:       {"The network blocks WhatsApp.", "Use another network or proxy."},
	ServiceUnavailable: {"WhatsApp's service is unavailable.", "Wait. The service recovers automatically."},
	ScreenLocked:       {"WhatsApp Web's app lock is on.", "Turn it off in a desktop browser with this profile."},
	StorageFailed:      {"The page can't use its database in the profile.", "Check the disk. The account may have to be linked again."},
	PairingRequested:   {"A code to type on the phone was requested; meanwhile there is no QR.", ""},
	PairingCodeShown:   {"The page shows a code to type on the phone; meanwhile there is no QR.", "In WhatsApp on the phone open Linked devices, tap Link a device and Link with phone number instead, and type the code. The QR comes back when the code expires."},
	SyncStuck:          {"The account is linked, but synchronising chats makes no progress; the page is being reloaded.", "Keep the phone online, with WhatsApp open."},
	ConnectionSilent:   {"The page claims to be connected, but receives nothing; it is being reloaded.", "Make sure that no other service uses a copy of this profile."},
	LoginRefused:       {"WhatsApp's server answers, but does not accept the login.", "Wait: the page keeps trying, and the service recovers automatically. If this lasts for hours, look at Linked devices on the phone."},
	PageReloading:      {"The page keeps reloading itself, as WhatsApp's page does when its version is refused.", "Upgrade Chrome if this persists. The service reloads the page past the cache now and then, and recovers automatically."},
	PageOutdated:       {"WhatsApp reports that this version of its page is too old.", "The page is reloaded automatically. Upgrade Chrome if this persists."},
}

// Error is an error with the reason that it gives the session.
type Error struct {
	Code Code
	Err  error
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Wrap returns err with the reason c, or nil when err is nil.
func Wrap(c Code, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: c, Err: err}
}

// Of returns the outermost reason of err, or otherwise when it has none.
func Of(err error, otherwise Code) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return otherwise
}
