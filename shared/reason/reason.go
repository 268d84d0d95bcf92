// Package reason is the catalogue of why the session is in its state: a stable
// code for programs, a sentence for people, and what the operator can do.
package reason

import "errors"

// Code is the stable name of a reason. The empty Code means "nothing to say".
type Code string

// Reasons that the worker's process or Chrome's give.
const (
	Starting           Code = "starting"
	Stopping           Code = "stopping"
	RestartRequested   Code = "restart_requested"
	Maintenance        Code = "maintenance"
	ProfileReplaced    Code = "profile_replaced"
	WorkerCrashed      Code = "worker_crashed"
	WorkerHung         Code = "worker_hung"
	WorkerUnusable     Code = "worker_unusable"
	WorkerReplaced     Code = "worker_replaced"
	BrowserReplaced    Code = "browser_replaced"
	MemoryLimit        Code = "memory_limit"
	BrowserMissing     Code = "browser_missing"
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
	CrashLoop          Code = "crash_loop"
)

// Reasons that the page gives.
const (
	PageLoading        Code = "page_loading"
	PageLoadFailed     Code = "page_load_failed"
	PageCrashed        Code = "page_crashed"
	PageHung           Code = "page_hung"
	PageUnrecognised   Code = "page_unrecognised"
	UnsupportedBrowser Code = "unsupported_browser"
	NetworkUnreachable Code = "network_unreachable"
	CertificateInvalid Code = "certificate_invalid"
	HTTPError          Code = "http_error"
	ScanQR             Code = "scan_qr"
	QRUnreadable       Code = "qr_unreadable"
	PasskeyRequired    Code = "passkey_required"
	Syncing            Code = "syncing"
	SavingLogin        Code = "saving_login"
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
	PairingCodeShown   Code = "pairing_code_shown"
	SyncStuck          Code = "sync_stuck"
	ConnectionSilent   Code = "connection_silent"
)

// Text is what a person reads about a Code.
type Text struct {
	// Message is one sentence: what is the matter.
	Message string
	// Action is what the operator can do; empty when there is nothing to do.
	Action string
}

// Describe returns the text of c, or the code itself as its message when the
// catalogue does not know it.
func Describe(c Code) Text {
	if t, ok := catalogue[c]; ok {
		return t
	}
	return Text{Message: string(c)}
}

// Codes returns every code of the catalogue, in no order.
func Codes() []Code {
	codes := make([]Code, 0, len(catalogue))
	for c := range catalogue {
		codes = append(codes, c)
	}
	return codes
}

var catalogue = map[Code]Text{
	Starting:           {"The worker and Chrome are starting.", ""},
	Stopping:           {"The service is stopping.", ""},
	RestartRequested:   {"A restart was asked for.", ""},
	Maintenance:        {"Chrome is closed for a moment, so that the login can be copied, moved away or brought back.", ""},
	ProfileReplaced:    {"The folder with the login was removed or replaced while Chrome ran; a new Chrome is being started on what is there now.", ""},
	WorkerCrashed:      {"The worker process died; a new one is being started.", ""},
	WorkerHung:         {"The worker process stopped answering and was killed; a new one is being started.", ""},
	WorkerUnusable:     {"The worker binary can't be run, or speaks another protocol version than the supervisor.", "Run make build, so that bin/supervisor and bin/worker are of one version, or set --worker to the right file."},
	WorkerReplaced:     {"The worker's binary was replaced; the new one takes over.", ""},
	BrowserReplaced:    {"Chrome was replaced on disk; the new one takes over.", ""},
	MemoryLimit:        {"The worker and Chrome held more memory than --memory-limit allows; they are being started anew.", ""},
	BrowserMissing:     {"No usable Chrome or Chromium was found.", "Install one (apt-get install chromium, or Google's google-chrome-stable), or set --chrome to its path. The service notices by itself."},
	BrowserCrashed:     {"Chrome died; a new one is being started.", ""},
	BrowserHung:        {"Chrome stopped answering and was killed; a new one is being started.", ""},
	PaintingHung:       {"The part of Chrome that paints stopped answering, so that no QR could be shown; a new Chrome is being started.", ""},
	NetworkHung:        {"The part of Chrome that loads from the network stopped answering; a new Chrome is being started.", ""},
	BrowserStartFailed: {"Chrome ended, or gave no answer, while it was starting.", "The log event worker_exited holds Chrome's last lines."},
	SandboxRefused:     {"Chrome can't use its sandbox on this machine.", "Allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1; on Ubuntu install Google's package with its AppArmor profile)."},
	ProfileUnwritable:  {"The tokens folder, or the Chrome profile in it, can't be written.", "Make the folder writable for the service's user, or set --tokens to another one. The service notices by itself."},
	ProfileInUse:       {"Another Chrome, not started by this service, holds the profile.", "End that Chrome (its pid is in the detail). The service notices by itself."},
	DiskFull:           {"There is too little space, or there are no inodes, where the profile lies.", "Free some space. The service notices by itself."},
	RuntimeUnwritable:  {"The folder for sockets and temporary files can't be written.", "Make it writable for the service's user: it is $RUNTIME_DIRECTORY under systemd, a folder in $TMPDIR otherwise. The service notices by itself."},
	ResourcesExhausted: {"There are no file descriptors, processes or memory left to start a worker with.", "Raise the limits of the service (LimitNOFILE and TasksMax in its unit), or free memory. The service tries again by itself."},
	CrashLoop:          {"The worker keeps failing; restarts have been slowed down.", "The log events worker_exited explain why. POST /session/restart tries at once."},

	PageLoading:        {"The page is loading.", ""},
	PageLoadFailed:     {"The page did not load in time.", "Check that this machine reaches the URL."},
	PageCrashed:        {"The page's process died; the page is being loaded again.", ""},
	PageHung:           {"The page stopped answering; it is being loaded again.", ""},
	PageUnrecognised:   {"The page loaded, but it is none that the service knows.", "Look at a screenshot of it; WhatsApp may have changed its page."},
	UnsupportedBrowser: {"WhatsApp refuses this version of Chrome.", "Upgrade Chrome."},
	NetworkUnreachable: {"The network, or WhatsApp's servers, can't be reached.", "Check this machine's network, DNS and proxy. The service goes on by itself."},
	CertificateInvalid: {"The server's certificate is not valid.", "Check this machine's clock, and that no proxy intercepts TLS."},
	HTTPError:          {"The server answered the page's address with an error.", "Wait, or check the URL and the proxy."},
	ScanQR:             {"The account is not linked.", "Open WhatsApp on the phone, Linked devices, Link a device, and scan the code at /qr."},
	QRUnreadable:       {"The page asks for a phone to be linked, but no scannable QR could be found in it.", "Look at a screenshot of it; WhatsApp may have changed its page."},
	PasskeyRequired:    {"WhatsApp asks for a passkey, which a headless browser can't give.", "Link the account in a desktop browser, and import that profile."},
	SavingLogin:        {"The account is linked and connected; Chrome has not written the login to disk yet.", ""},
	Syncing:            {"The account is linked; chats are being fetched.", "Keep the phone online."},
	Reconnecting:       {"The account is linked; the connection is being opened.", ""},
	Conflict:           {"WhatsApp Web was opened elsewhere with this account.", "Close it there. It is taken back after a minute, at most three times an hour."},
	LoggedOut:          {"The link was ended: on the phone, by WhatsApp, or by a command.", "Scan the new code at /qr."},
	Banned:             {"WhatsApp has banned this account, for some time or for good.", "Open WhatsApp on the phone; it says more."},
	TermsRequired:      {"WhatsApp wants its terms of service accepted.", "Open WhatsApp on the phone and accept them."},
	ProxyBlocked:       {"The network blocks WhatsApp.", "Use another network or proxy."},
	ServiceUnavailable: {"WhatsApp's service is not available.", "Wait; the service goes on by itself."},
	ScreenLocked:       {"WhatsApp Web's app lock is on.", "Turn it off from a desktop browser with this profile."},
	StorageFailed:      {"The page can't use its database in the profile.", "Check the disk; the account may have to be linked again."},
	PairingCodeShown:   {"The page shows a code to be typed on the phone; meanwhile there is no QR.", "Open WhatsApp on the phone, Linked devices, Link a device, Link with phone number instead, and type the code. The QR comes back when the code has run out."},
	SyncStuck:          {"The account is linked; fetching the chats makes no progress, and the page is loaded again.", "Keep the phone online, with WhatsApp open."},
	ConnectionSilent:   {"The page says that it is connected, but nothing comes over its connection; it is loaded again.", "Make sure that no other service uses a copy of this profile."},
	PageOutdated:       {"WhatsApp says this version of its page is too old.", "The page is loaded again by itself; upgrade Chrome if this stays."},
}

// Error is an error that carries the reason it gives to the session.
type Error struct {
	Code Code
	Err  error
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Wrap gives err the reason c. It returns nil when err is nil.
func Wrap(c Code, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: c, Err: err}
}

// Of returns the outermost reason that err carries, or otherwise.
func Of(err error, otherwise Code) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return otherwise
}
