// Package simulator is an offline stand-in for WhatsApp Web: a loopback HTTP
// server whose page, opened in a real Chrome, boots, shows QR codes that
// rotate and run out, links to a pretended phone, syncs, disconnects, conflicts
// and logs out the way the real page was observed to. It exists because no test
// machine reaches WhatsApp, and because most of what goes wrong there can't be
// provoked on purpose.
//
// # Rules
//
// It never reaches the network. No shipped binary imports it. It imports
// nothing of the product and shares no constant with it: a simulator that took
// the selectors under test from the product would agree with any typo in them.
// Nothing in it was copied from WhatsApp; the scripts under pages/js were
// written from observations alone.
//
// # Use
//
//	sim, err := simulator.New(simulator.Options{Speed: 50})
//	web := httptest.NewServer(sim)   // open web.URL in Chrome
//	shown, err := sim.Shown(ctx)     // a code is on the screen, shown.Payload
//	err = sim.Scan(ctx)              // the phone scans it
//	err = sim.Await(ctx, func(c simulator.Screen) bool { return c.Name == "MAIN" })
//	sim.Close(); web.Close()         // in this order
//
// What the page has sent is in the server's log, the judge of those who send: Sent and
// AwaitSent, with size and SHA-256 of what was uploaded. Ack reports a message as delivered or read, Receive sends one to the account, Deliver also one with a file.
//
// The page reports over a websocket of its own (/sim/page) what it shows, after
// it drew it. Nothing in a test needs to sleep or to poll. The command in cmd
// serves the same, with the levers on a second address; see Control, which lists them.
// A lever that can't do anything now returns an error that explains why.
//
// Devices that linked are remembered in memory. One that the server doesn't
// know is let in when it claims to be linked, so logins outlive a simulator;
// one that was logged out is not.
//
// # Speed
//
// Every imitated duration is divided by Options.Speed: the life of a code, the
// back-off of the connection, the boot, the sync and its limit. What belongs to
// the browser is not: drawing, the tab's mutex (a second between pings), and
// arguments of switches that are in milliseconds. Silence is never mistaken for a
// dead network in less than 3 s.
//
// # Switches
//
// A switch is a misbehaviour that lasts until it is cleared; ParseFault reads
// name, name=value or name=value:argument, and FaultNames lists all. What each does
// is in settings.go. A load of the page can have its own, for what the page does on its
// own: /?sim=renamed&sim.speed=100&sim.fault=idle=now.
//
// # What is imitated, and what was observed
//
// "Observed" means: seen on the real page of April 2026 in a headless browser,
// or read in the modules that WhatsApp publishes, up to September 2026.
//
//   - The QR payload: prefix and five fields, ADV secret as the fourth
//     (observed). Canvas, its label, the container and its attribute, gone in
//     OPENING and PAIRING and next to the phone number, stale when idle
//     (observed). No quiet zone inside the canvas: not known, the harder case.
//   - Six refs, the first for 60 s, the others for 20 s, then idle with the
//     button that renews; a new list brings a new ADV secret; the secret can be
//     renewed under the same ref (observed). A list of another length is ignored
//     (observed).
//   - The clock of the codes outlives their connection: while the page reconnects it
//     still draws codes that link nobody, until the list ends. At a tick without a
//     network it stops, and never starts again (observed).
//   - Before it connects the page probes an address below /favicon, and opens no
//     connection while that is not found; two addresses are raced (observed). The
//     second one is that of another port; here it is the same.
//   - Under either overlay the canvas is faint since August 2026 (observed). The
//     button "No internet connection" follows the page's own probe, not
//     navigator.onLine (observed); when exactly the probe runs is assumed: when
//     a socket closes, and each 15 s. A socket is given up after 20 s of silence
//     (observed).
//   - States, modes, and what holds in the QR state: hasSynced undefined,
//     displayInfo CONNECTING (observed). hasSynced, then mode MAIN; 515 after a
//     scan (observed).
//   - A registered page calls itself CONNECTED after the handshake, before its login is
//     accepted, and hasSynced stays true from before; only the stream shows it. Opened
//     elsewhere ("replaced") it stays so, without a connection. Failure 402 and 500: it
//     tries again about once a second (observed for 402, assumed for 500); 405 and 409:
//     it loads itself every 2.5 s when linked, every 10 s otherwise. After 515 it may load
//     itself instead of logging in (all observed).
//   - Storage: the keys and eight databases of an unlinked page; last-wid-md only
//     after a scan; databases deleted when it is missing at the start; the noise
//     info readable only with a key that can't leave its database (observed).
//   - The tab's mark in localStorage is renewed every second (observed). Chrome
//     commits 60 changes an hour, so it holds what a scan has brought back until
//     the next minute, as it does for the real page (observed: 10 to 33 s).
//   - A logout goes to /?post_logout=1, with &logout_reason=N where the login page
//     shows one, and the address is cleaned at once (observed; that a removal by
//     the phone carries no reason is assumed).
//   - The user agents that get the page "works with Google Chrome 100+" (observed).
//   - Linking by code: the modules' functions, the attribute data-link-code, the
//     names and codes of the server's refusals, the failure for an answer that the
//     modules don't know, whose message names all that they do, the dialogs and the
//     inline error, the banner about the phone's application, that a second request
//     ends the first code, and the three ways to be linked that getPairingType
//     returns (observed). That the page shows code and dialogs, too, when somebody
//     else called its functions is assumed, the harder case.
//   - Linking by a passkey: the cards have the test ids that were observed; a gate renews
//     the ADV secret (observed). The call to the browser, its options, the events, the clocks
//     of 600, 300 and 120 s, the proof that makes a code superfluous (read). Whoever signs,
//     the server verifies. The texts, where the events are listened to, the form of the proof
//     and the elements of an integrity challenge are made up.
//   - The menu above the chats, and the question before a logout (assumed: their
//     labels and the menu's icon were observed, their elements not).
//   - The build of April has no test ids (observed).
//   - A hidden page waits up to 5 s before it connects; a second tab steps back
//     (observed). A tab that died silently is replaced after 1.5 s (assumed).
//   - Screens other than the login page have the texts and elements that were
//     observed, and nothing more. Translations are made up.
//   - The service worker holds the connection under socket=worker only (that it can
//     was read).
//   - Text messages: the modules, their functions and arguments, the array of two promises,
//     rows of which a key can be stored once, acknowledgements without a time limit, the same
//     stanza after each reconnect, nothing after a reload, the failure of own messages that
//     are loaded without an acknowledgement, rowId, the prefs about restrictions, the trap for
//     foreign scripts (all read). Chats have LIDs; those that the phone had have numbers. A
//     message whose key was refused stays in memory, its second promise is rejected as well,
//     and messageFromDbRow is asynchronous (assumed, the harder cases). Numbers are spelled as
//     is known of Brazil, Argentina and Mexico. Everybody has an account who was not set
//     otherwise; the server refuses nobody, unless a switch makes it.
//   - Media to be sent: preparation, in which images are drawn again with at most 1600 pixels, limits,
//     and upload to a host, here the page's own (read). Nothing is encrypted, videos and audio are
//     not looked into, and recipients get no file.
//   - Media of received messages: downloadMedia, its stages, that it does nothing in a chat that is not
//     trusted unless a user has asked for it, the download manager (read); that it returns while the sender's
//     phone uploads again (assumed, the harder case). What is downloaded is not verified.
//   - Edits, deletions and reactions: an edit is shown before the server has it, its promise
//     resolves for any answer of the server, and it has a row of its own, by which it can be
//     sent again; a deletion is shown afterwards, and leaves the message under another key;
//     while one is under way in a chat a second one gets its promise (all read). The last
//     reaction of each person to each message has a row, with an empty text once it was taken back;
//     only those to own messages are loaded when they arrive (read). What becomes of a
//     reaction to a message that is not there is not imitated.
//   - A chat: the composer keeps a state of its own and ignores what scripts write, one button sends or records,
//     rows have full keys as ids, or bare ones; dialogs, and a bar instead of the composer (read). A chat
//     begins by its number in a field that "New chat" opens (assumed: the elements).
//   - The other elements of a chat are not imitated.
//   - The protocol on /ws/chat and the crypto are not imitated.
//
// The older pages, 2019 to 2024, have what other programs are known to have
// looked for at that time.
package simulator
