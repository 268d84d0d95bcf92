// Package logid has the ids of the supervisor's log lines: the msg of a line, on which
// programs may rely. Each constant's comment has the levels at which it is logged, and
// what it means; the manual page lists them. A state that needs a person is one ERROR,
// state_changed, and what led to it is at most a WARN.
package logid

// The service as a whole.
const (
	LogLinesDropped           = "log_lines_dropped"            // WARN: This many lines are missing before this one: they could not be written, or not fast enough.
	ServiceStarted            = "service_started"              // INFO: The API is being served.
	ContainmentSelected       = "containment_selected"         // INFO: Workers run in a control group of their own, or without one.
	KeysExposed               = "keys_exposed"                 // WARN: Other machines reach the API without TLS, so that keys are sent in clear text.
	SocketStoreFailed         = "socket_store_failed"          // WARN: systemd did not take the listening socket; the API will be down during a restart of the service.
	SocketIgnored             = "socket_ignored"               // WARN: systemd handed over more than one socket; this one is not used.
	SystemdNotifyFailed       = "systemd_notify_failed"        // WARN: systemd could not be notified.
	WatchdogFeedFailed        = "watchdog_feed_failed"         // ERROR: The session's loop does not respond; systemd is about to kill the service.
	FileReloaded              = "file_reloaded"                // INFO: A changed file was read again.
	FileReloadFailed          = "file_reload_failed"           // WARN: A changed file can't be used; the previous content stays in use, but keys only for a minute.
	SelectorsLoaded           = "selectors_loaded"             // INFO: The page is read with the selectors of a file instead of the built-in ones.
	SelectorsRejected         = "selectors_rejected"           // WARN: The selectors file can't be used; the built-in selectors are in use.
	StopRequested             = "stop_requested"               // INFO: The service was asked to stop.
	ServiceStopFailed         = "service_stop_failed"          // ERROR: The service did not stop in time and exits without cleaning up.
	ServiceStopped            = "service_stopped"              // INFO: The service has stopped.
	FormerLoginIgnored        = "former_login_ignored"         // WARN: The tokens folder has a profile or a token of venom-bot's, which the service does not use.
	RuntimeFolderRejected     = "runtime_folder_rejected"      // WARN: The folder for sockets and temporary files belongs to another user; another one is used.
	RuntimeFolderRemoveFailed = "runtime_folder_remove_failed" // WARN: The folder for sockets and temporary files was left behind.
)

// The session.
const (
	StateChanged     = "state_changed"     // INFO, WARN, ERROR: The session's state changed; WARN when READY was lost, ERROR when a person must act.
	ReasonChanged    = "reason_changed"    // INFO: The reason for the state changed, but the state did not.
	PhaseChanged     = "phase_changed"     // DEBUG: The worker reached another phase.
	QRChanged        = "qr_changed"        // INFO: A QR appeared or went away.
	QRDrawFailed     = "qr_draw_failed"    // ERROR: A QR payload can't be drawn as a QR.
	WarningRaised    = "warning_raised"    // ERROR: Something needs attention, although it leaves the state alone, such as a disk that is almost full; /session lists it.
	WarningCleared   = "warning_cleared"   // INFO: The cause of a warning is gone.
	ConditionIgnored = "condition_ignored" // WARN: The worker reported a condition that this supervisor does not know.
)

// The worker and Chrome.
const (
	ControlGroupRemoveFailed  = "control_group_remove_failed" // WARN: A control group was left behind.
	ControlGroupCreateFailed  = "control_group_create_failed" // WARN: Workers run without a control group of their own.
	ControlGroupJoinFailed    = "control_group_join_failed"   // WARN: A worker could not be moved into its control group.
	LeftoversRemoveFailed     = "leftovers_remove_failed"     // WARN: Files of an earlier worker could not be removed.
	LockChecked               = "lock_checked"                // INFO: Chrome's lock of the profile was checked, and removed where it was stale.
	RestartStateLoadFailed    = "restart_state_load_failed"   // WARN: The record of earlier failures can't be read; counting starts at zero.
	RestartStateSaveFailed    = "restart_state_save_failed"   // WARN: The record of failures can't be saved.
	WorkerBlocked             = "worker_blocked"              // WARN: No worker can be started for the given reason; the service keeps trying.
	WorkerStarted             = "worker_started"              // INFO: A worker process was started.
	WorkerExited              = "worker_exited"               // INFO, WARN: A worker and its Chrome have exited: why, and when the next one starts; INFO when that was planned.
	RestartDeferred           = "restart_deferred"            // INFO: A restart is deferred until it does no harm.
	WorkerRestartFailed       = "worker_restart_failed"       // WARN: A restart could not be requested.
	WorkerKeepFailed          = "worker_keep_failed"          // WARN: The worker's binary could not be remembered as one that works.
	SupervisorSuspended       = "supervisor_suspended"        // WARN: This process was suspended for a while; heartbeats that were late because of it are ignored.
	ChromeCloseFailed         = "chrome_close_failed"         // WARN: Chrome was not closed cleanly.
	ProfileCloseFailed        = "profile_close_failed"        // WARN: The profile's lock could not be released.
	InstanceCleanupFailed     = "instance_cleanup_failed"     // ERROR: What an instance left behind could not be cleaned up in time.
	FolderRemoveFailed        = "folder_remove_failed"        // WARN: A temporary folder was left behind.
	LaunchRecordFailed        = "launch_record_failed"        // WARN: Chrome runs where it should, but this could not be recorded.
	EventIgnored              = "event_ignored"               // WARN: A worker sent an event of another generation.
	SelectorsLoadFailed       = "selectors_load_failed"       // ERROR: The worker did not accept the new selectors.
	WorkerStderrReceived      = "worker_stderr_received"      // INFO, WARN: A line that the worker wrote to stderr and that is not a log line; WARN during a panic.
	WorkerStderrDropped       = "worker_stderr_dropped"       // WARN: The worker wrote more to stderr than is logged.
	WorkerSignalFailed        = "worker_signal_failed"        // WARN: A signal could not be sent to the worker.
	VerificationCleanupFailed = "verification_cleanup_failed" // WARN: What the verification of a backup left behind could not be cleaned up.
	BackupVerified            = "backup_verified"             // DEBUG: A backup was opened by a worker of its own.
	EventStreamClosed         = "event_stream_closed"         // DEBUG: The worker's stream of events ended.
	ChildReapFailed           = "child_reap_failed"           // DEBUG: The exit status of an orphaned process can't be collected.
	ProcessResumeFailed       = "process_resume_failed"       // DEBUG: A suspended process below the worker can't be resumed.
	RequestSendFailed         = "request_send_failed"         // WARN: The worker did not read its request from standard input.
	OOMScoreRaiseFailed       = "oom_score_raise_failed"      // DEBUG: The worker's OOM score can't be raised.
)

// The login.
const (
	LoginLinked             = "login_linked"              // INFO: A phone was linked.
	LoginPersisted          = "login_persisted"           // INFO: Chrome has written the login to the profile.
	LoginConfirmed          = "login_confirmed"           // INFO: The session was READY with this login.
	LoginEnded              = "login_ended"               // INFO: The login was logged out.
	LoginLost               = "login_lost"                // ERROR: The login is gone, and no backup of it can be restored.
	LoginRecordFailed       = "login_record_failed"       // WARN: The record of the login can't be saved.
	LoginReadFailed         = "login_read_failed"         // WARN: The record of the login can't be read.
	ProfileReplaced         = "profile_replaced"          // WARN: The profile that held the login was removed or replaced.
	ProfileQuarantined      = "profile_quarantined"       // INFO: The profile was moved to admin.quarantine.
	ProfileAdopted          = "profile_adopted"           // INFO: Another Chrome used another of the folder's profiles last, which is now the one called Default.
	ProfileRetained         = "profile_retained"          // WARN: A phone or WhatsApp ended the link, but admin.quarantine is full, so the profile stays in use.
	ProfileQuarantineFailed = "profile_quarantine_failed" // ERROR: The profile can't be moved to admin.quarantine.
	ChromeTrialFailed       = "chrome_trial_failed"       // INFO: Chrome does not start on an empty profile either, so the profile is not the cause.
	ProcessKillFailed       = "process_kill_failed"       // WARN: A process that a trial start left running can't be killed.
	LoginErased             = "login_erased"              // INFO: The login and its backups were deleted.
	LoginEraseFailed        = "login_erase_failed"        // ERROR: The login or its backups can't be deleted.
	BackupCreated           = "backup_created"            // INFO: A backup of the login was made.
	BackupCreateFailed      = "backup_create_failed"      // WARN: No backup of the login could be made.
	BackupRejected          = "backup_rejected"           // ERROR: A backup turned out to be unusable and was removed.
	BackupVerifyFailed      = "backup_verify_failed"      // WARN: A backup could not be verified; it is tried again.
	BackupRecordFailed      = "backup_record_failed"      // WARN: A backup was verified, but this can't be recorded.
	BackupRemoveFailed      = "backup_remove_failed"      // WARN: A rejected backup can't be removed.
	BackupsPruneFailed      = "backups_prune_failed"      // WARN: Old backups can't be removed.
	BackupsListFailed       = "backups_list_failed"       // WARN: The backups can't be listed.
	BackupSkipped           = "backup_skipped"            // WARN: A backup was made by a newer Chrome and is not restored.
	LoginRestored           = "login_restored"            // WARN: The login was restored from a backup.
	LoginRestoreFailed      = "login_restore_failed"      // WARN: No backup of the login could be restored.
	CacheRemoved            = "cache_removed"             // INFO: A cache was removed from the profile.
	CachesPruneFailed       = "caches_prune_failed"       // WARN: Caches can't be removed from the profile.
)

// A request for a passkey.
const (
	PasskeyChanged = "passkey_changed" // INFO: A passkey is asked for, or how far that has got changed.
	PasskeyHandled = "passkey_handled" // INFO: Somebody has asked for the request, answered, confirmed or cancelled it, as the action says.
)

// Messages.
const (
	OutboxDamaged          = "outbox_damaged"           // ERROR: The database of messages is damaged and was moved aside; what can be read of it was taken over.
	RowsDamaged            = "rows_damaged"             // ERROR: So many entries of a database can't be read; they were moved to its table aside, and are kept there for a week. All others are whole.
	OutboxWriteFailed      = "outbox_write_failed"      // WARN: The database of messages can't be opened, read or written; it is tried again.
	OutboxReportFailed     = "outbox_report_failed"     // WARN: The webhook's queue did not take what became of messages; it is tried again.
	OutboxCloseFailed      = "outbox_close_failed"      // WARN: The database of messages was not closed; nothing of it is lost.
	InboxDamaged           = "inbox_damaged"            // ERROR: The database of received messages is damaged and was moved aside; what can be read of it was taken over, and messages of the last day that are missing are reported again.
	InboxWriteFailed       = "inbox_write_failed"       // WARN: The database of received messages can't be opened, read or written; it is tried again.
	InboxReportFailed      = "inbox_report_failed"      // WARN: Received messages could not be handed to the webhook; it is tried again.
	ReactionsReceiveFailed = "reactions_receive_failed" // WARN: The page's table of reactions could not be read; it is tried again every minute.
	MessagesReceiveFailed  = "messages_receive_failed"  // WARN: The page's table of messages could not be read; it is tried again.
	MessagesAskFailed      = "messages_ask_failed"      // DEBUG: The phone could not be asked for messages that could not be decrypted; it is tried again.
	MessagesReceived       = "messages_received"        // DEBUG: So many events of received messages are on disk.
	MessagesMissed         = "messages_missed"          // WARN: Messages may be missing: the page has another table than before, or the account has changed.
	MessagesUnannounced    = "messages_unannounced"     // WARN: Messages were found that the page had not announced; its listeners were put in again.
	MessageSendFailed      = "message_send_failed"      // WARN: An attempt to send a message failed: for ever, for now, or nobody knows.
	MessageChanged         = "message_changed"          // INFO, WARN: The status of a message changed; WARN if it was not sent, and never will be.
	MessagesStalled        = "messages_stalled"         // WARN: The page did not get a message sent; it is restarted, and the message sent again under the same id.
)

// Reports and traces.
const (
	ReportWritten          = "report_written"           // INFO: A crash report was written.
	ReportWriteFailed      = "report_write_failed"      // ERROR: A crash report can't be written.
	ReportDropped          = "report_dropped"           // WARN: There were too many crash reports at once; this one was not written.
	ReportsReadFailed      = "reports_read_failed"      // WARN: The crash reports can't be read.
	ReportScreenshotFailed = "report_screenshot_failed" // WARN: A crash report lacks its screenshot.
	ReportDiagnoseFailed   = "report_diagnose_failed"   // WARN: A crash report lacks the diagnosis of the page.
	TraceWritten           = "trace_written"            // INFO: The trace of the start was written.
	TraceWriteFailed       = "trace_write_failed"       // WARN: The trace of the start can't be written.
)

// The API and the webhook.
const (
	KeyRejected         = "key_rejected"          // WARN: A request had no key or a wrong one. Only the first one is logged.
	CommandFailed       = "command_failed"        // WARN: A command of the API failed.
	PageRenderFailed    = "page_render_failed"    // ERROR: The operator's page can't be rendered.
	WebhookConfigured   = "webhook_configured"    // INFO: Changes of the session are sent to a webhook.
	WebhookSendFailed   = "webhook_send_failed"   // WARN: The webhook's receiver did not accept an event; it is sent again.
	WebhookEventDropped = "webhook_event_dropped" // ERROR: Events for the webhook were dropped, as too many waited, or for too long, or they were of a former account; the receiver learns so.
	WebhookWriteFailed  = "webhook_write_failed"  // WARN: The webhook's queue can't be written; this is repeated every two seconds, and one cause is logged once.
	WebhookQueueDamaged = "webhook_queue_damaged" // ERROR: The webhook's queue was damaged and moved aside; the present state follows.
	ProxySelected       = "proxy_selected"        // INFO: Chrome reaches the network through a proxy.
	ProxyRequestFailed  = "proxy_request_failed"  // WARN: A connection through the proxy of --proxy failed; logged once for each cause in a row.
	ProxyServeFailed    = "proxy_serve_failed"    // ERROR: Chrome can no longer be connected with the proxy.
	WebhookEventsLost   = "webhook_events_lost"   // ERROR: The disk was unavailable for so long that events for the webhook are lost; the present state follows.
)
