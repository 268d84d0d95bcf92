// Package logid has the ids of all log lines of the worker process: the msg of a
// line, on which programs may rely. Each constant's comment gives the levels at
// which it is logged and what it means; the manual page lists them. The supervisor
// passes these lines on, with its own process's name as their origin.
package logid

// The worker's process.
const (
	LogLinesDropped   = "log_lines_dropped"   // WARN: This many lines of the worker are missing before this one: the supervisor read none, or not fast enough.
	WorkerStarted     = "worker_started"      // DEBUG: The worker's process runs.
	RequestReadFailed = "request_read_failed" // WARN: Standard input held no valid request.
	StopRequested     = "stop_requested"      // INFO: A signal asked the worker to exit.
	StopFailed        = "stop_failed"         // WARN: Chrome was not closed cleanly, or not in time.
	PanicRecovered    = "panic_recovered"     // ERROR: The worker has a bug; the session fails, and the next worker is started.
)

// The worker's Chrome.
const (
	ChromeStarted           = "chrome_started"            // INFO: Chrome runs, and holds the profile.
	ChromeConnected         = "chrome_connected"          // DEBUG: Chrome answers.
	ChromeExited            = "chrome_exited"             // INFO: Chrome was closed cleanly.
	ChromeCloseFailed       = "chrome_close_failed"       // WARN: Chrome was not closed cleanly.
	SandboxDisabled         = "sandbox_disabled"          // WARN: Chrome runs without its sandbox.
	ProbeMissed             = "probe_missed"              // WARN: A part of Chrome did not answer in time, or is stopped.
	SessionFailed           = "session_failed"            // WARN: Chrome or the page failed beyond repair; the next worker is started.
	LoginReadFailed         = "login_read_failed"         // DEBUG: Whether the login has reached the disk could not be found out.
	LoginPersistenceAssumed = "login_persistence_assumed" // WARN: What Chrome has written could not be read for minutes, so that the login counts as written.
	FolderRemoveFailed      = "folder_remove_failed"      // WARN: A temporary folder was left behind.
)

// The worker's page.
const (
	NavigationFailed       = "navigation_failed"        // WARN: The page's server could not be reached.
	PageObserved           = "page_observed"            // DEBUG: The page is in another condition.
	PageStateChanged       = "page_state_changed"       // DEBUG, WARN: The page's own state changed; WARN when it is an unknown one, or the page is hidden.
	ObservationFailed      = "observation_failed"       // WARN: The page did not answer when it was observed.
	PageReloaded           = "page_reloaded"            // INFO: The page is loaded again.
	PageReloadFailed       = "page_reload_failed"       // WARN: The page could not be loaded again.
	PageCrashed            = "page_crashed"             // WARN: The page's process died; the page is loaded again.
	PageStalled            = "page_stalled"             // WARN: The page does not respond; it is loaded again.
	ScriptStopFailed       = "script_stop_failed"       // WARN: A script of the page that does not end could not be stopped.
	CacheClearFailed       = "cache_clear_failed"       // WARN: The page is loaded again with what the cache holds.
	QRRenewed              = "qr_renewed"               // INFO: The page was asked for new QR codes.
	QRRenewFailed          = "qr_renew_failed"          // WARN: The page could not be asked for new QR codes; it will be loaded again.
	QRPayloadRejected      = "qr_payload_rejected"      // WARN: What the page shows is not a QR payload.
	ReaderContradicted     = "reader_contradicted"      // WARN: A reader found another QR payload than the others; the one on the screen is served.
	ImageSearchFailed      = "image_search_failed"      // DEBUG: The page's images could not be searched for a QR.
	PageReturned           = "page_returned"            // INFO: The page is led back to its QR.
	SessionClaimed         = "session_claimed"          // INFO: The page takes the session back from another browser.
	ButtonPressFailed      = "button_press_failed"      // WARN: A button of the page could not be pressed; the page will be loaded again.
	ModulesBypassed        = "modules_bypassed"         // INFO: The page's modules can't do what was asked; its buttons are pressed instead.
	PairingCodeReceived    = "pairing_code_received"    // INFO: The page shows a pairing code.
	PasskeyRequestRejected = "passkey_request_rejected" // WARN: What the page asks its browser for is nothing that a passkey of it could sign.
	SendingChanged         = "sending_changed"          // INFO: The page can send messages now, or can't any longer.
	ReceivingChanged       = "receiving_changed"        // INFO: The page can report messages that arrive now, or can't any longer.
	NewsFetchFailed        = "news_fetch_failed"        // DEBUG: The page did not say what has become of its messages; it is asked again.
	SelectorsRejected      = "selectors_rejected"       // WARN: The selectors file can't be used; the built-in selectors are in use.
	SelectorsApplyFailed   = "selectors_apply_failed"   // WARN: The page did not take the newest selectors file.
	EventDecodeFailed      = "event_decode_failed"      // WARN: An event of Chrome could not be decoded, and is ignored.
	ConsoleMessageReceived = "console_message_received" // DEBUG: Chrome has an error of the page in its console; at most five a second are logged.
	TabClosed              = "tab_closed"               // INFO: Another page of the browser was closed.
	TidyFailed             = "tidy_failed"              // WARN: A dialog, a download or another page of the browser may be left open.
	TidyDropped            = "tidy_dropped"             // WARN: There was too much to tidy up in the browser; something is left open.
)
