// Package outbox keeps the messages that are to be sent, on disk, and has the page send
// each of them once.
//
// # Once
//
// The id of a message is drawn before anything else, and is the page's own: the page keeps
// one row an id, and a recipient shows one message an id. A message is on disk before
// Accept returns, and that the page is about to be asked to send it is on disk before the
// page is asked. So there is always either no doubt that the page knows nothing of it, or
// the id to ask the page by. After a doubt (an error that is not a *rpc.SendError, the end
// of an instance or of the supervisor) the message is unknown: it is looked up once the page
// is ready again, and sent again under the same id if the page has not got it sent. A message
// that the page has for a minute without an acknowledgement restarts the page first, since
// only another life of it sends such a message again (reason sends_stuck); so does one that
// four attempts have left unknown. For the same message this happens ever more seldom.
//
// # Files
//
// The file of a message is in a folder next to the database (package media) under the message's
// id. It is on disk, with that name, before the transaction that accepts the message, and a file
// without such a message is removed at the start and every ten minutes, as when the text of its
// message was erased. The page uploads it first, while others are sent; an upload may be repeated.
//
// # Acts
//
// A reaction, an edit or a deletion is a message of its own, in the line of its target's chat, with an id by
// which only this package knows it: the page draws another one. So after a doubt it is done again, in its place, which
// has no further effect; the worker first looks whether that is needed.
//
// # Typing
//
// Where the page has lost a function of sending, a text is typed as a person does, unless Options forbids that. That this is about
// to happen is on disk before. The page draws the id then, so it can't be used to make sure: after a doubt the message is looked for by
// its words, once in each life of the page, and never typed again. It stays unknown if it is not found, and is in no other's way.
//
// # Order and pace
//
// In each chat, which has the messages to a person's number and LID, one message at a time is on its way: the next one follows when it was
// acknowledged, or never will be. A chat that is stuck delays no other. Who has never written to us is written to
// slowly, and not at all while WhatsApp restricts the account; those who have are not affected.
//
// # Account
//
// A message belongs to the account that was linked last when it was accepted, or to the
// next one after a phone was unlinked. When another account is linked it fails. When the
// same one is linked again it is sent. An account has a number and a LID, and is the same if one of
// those is that is known of it (rpc.Account); where that leaves it open, as with the number of one and the
// LID of the other, the message waits. Nothing is sent while the page has not reported whose it is.
//
// # Decisions and effects
//
// What a message becomes (entry), what to do with it (next, outcome) and when (Pacing) are
// pure functions. The loop applies them and never blocks: the database has a goroutine of
// its own, which writes what is asked at the same time with one fsync, and the worker's
// calls have others. What others are shown is always on disk.
//
// # Damage
//
// What can't be read of a message is set aside in the database, where the operator finds it for a week. Its id and its key stay, with
// the status that it had reached or as failed, so that a repeated request sends nothing. One whose text or file is lost
// fails. Neither is in another's way. What is imported is checked as what a client sends.
//
// # Database
//
// SQLite (modernc.org/sqlite, no cgo), after a comparison with bbolt on a disk with ext4,
// with entries of 400 bytes and texts of 300:
//
//	                                          SQLite 3     bbolt 1.5
//	added to the binary                       4.9 MB       0.4 MB
//	one durable accept, 10,000 kept: median   0.4 ms       0.7 ms
//	                                 95 %     0.8 ms       13 ms
//	file with 10,000                          10 MB        35 MB
//	PSS opened                                +4 MB        +0.5 MB
//	PSS once all entries were read            +10 MB       +17 MB
//
// SQLite writes its log with one fsync a transaction, bbolt its pages with two. Two more
// things decided: SQLite overwrites what is deleted (secure_delete), while bbolt's file must
// be rewritten for that; and it reports a damaged file, while bbolt reads through a memory
// map, where a file that was cut kills the process. With 10,000 messages the supervisor holds 5 MB more
// than without.
//
// A file that can't be used is moved aside as <path>.damaged, where the last one stays for a week. What can be read of it is taken
// over: messages or, as they have indexes of their own, at least their ids and keys.
// That of a newer version is left alone instead, and nothing is accepted meanwhile. The
// file is bounded by Limits. Texts are erased from it a day after a message was sent or has ended,
// the rest a week after its last change; then the log is emptied, too.
package outbox
