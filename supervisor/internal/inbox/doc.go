// Package inbox keeps the messages that have arrived, on disk, and reports each of them at
// least once, under one id, in the order in which the page has stored them.
//
// # The page's table is the truth
//
// The page announces some messages and not others: what arrives while it starts is written
// to its table without any event. So its events are hints. What counts is a cursor over the
// table, which moves in the transaction that keeps the messages before it. It consists of
// marks of several rows, since the page may use the number of its last row again, and since
// a restored backup of the profile ends earlier. Every minute the table is compared with the
// cursor; messages that are found then and were never announced mean that the page has lost
// our listeners. If no mark is true, the table is another one: a gap is reported, and
// everything is read that was written since a day before the last message.
//
// What becomes of a message that was reported is noticed by the page while it runs; after
// each start, and whenever the page has noted too much, those of the last day and those
// that could not be decrypted are read again.
//
// # Reactions
//
// The page has a table of the last reaction of each person to each message, without an order. It
// announces those to the account's own messages, and of the others only some. So those that
// it announces are read at once, those to the latest 100 messages every minute, to 1,000 every ten, and after a start
// those to all messages that are known. The id of a reaction's event is made of WhatsApp's ids of the
// message and of the reaction, so that none is reported twice.
//
// # What is kept
//
// An event has a part that is erased early, with texts and names, and one that names the message
// and has addresses. Events are dropped, the oldest first, when there are too
// many. Reactions and acknowledgements have a bound of their own, so that a flood of them pushes out no
// message: they are dropped from between the others, and the next event is Thinned. A reader whose position
// was dropped gets an error.
//
// # Files
//
// The file of a message is downloaded when somebody asks for it, and once for all who ask. An
// eager download would fill the disk with what most consumers never read, and gains little:
// WhatsApp's links live for weeks, our texts for a day, and the page asks the sender's phone for
// what has expired; if that is in vain, it is noted, as each further request would go to that phone again. What the page returns is verified before it gets its name, which is its id, so all that has a
// name can be served. It goes when the text goes, or when a newer file needs its room.
package inbox
