// Package login looks after the login in the profile: it remembers what is known
// about it, backs it up, moves it to quarantine when it has ended, and restores a
// backup, once, when it was lost. Pure functions decide what is done; it is done
// between two worker instances, when no Chrome uses the profile. Neither a failure
// nor the page ever deletes a profile: only a logout with purge does.
//
// # The life of the login
//
// A phone is linked. Planned restarts (SIGHUP, memory, a backup) wait until
// --settle-time, a minute, after the first READY. POST /session/restart waits until
// READY, which its answer explains, unless it is called with now=true.
//
// The phone or WhatsApp ends the link. Once the page asks for a phone again there
// is one planned restart: the profile goes to admin.quarantine/<time>-logged_out, and
// an empty one shows a QR. Until then none is served (Status.Replacing): a phone that is
// linked in the last moment might lose its link. The restart waits while a pairing code is
// being typed or a phone scans. POST /session/logout does the same after the page has logged
// out, and answers when it is done.
//
// The page alone decides what looks like a logout, so it must not be able to push a login
// off the disk. A login that was never on disk has not ended. A page moves at most one
// profile an hour. The quarantine removes no profile that was READY, by its own record,
// for 30 days: when it has ten of those, or less than 512 MB are free, the profile stays
// in use (profile_retained). Of those that were never READY it keeps three. A restore adds
// one a day at most, and what commands and imports add is the operator's.
//
// Chrome has closed cleanly while READY, for a planned restart or a stop. The profile
// is backed up to admin.backups/<time>: everything but caches and locks, with a SHA-256
// of each file, synced, and renamed last. Backups made within an hour of each other
// count as one. A backup may take 5 s at a stop and 20 s otherwise. It is given up when
// it takes longer, or when it would leave less than 512 MB free.
//
// No backup was verified for a day, it is the hour of --backup-hour, and the session is
// READY. There is one planned restart for the sake of a backup. That backup is verified
// at once, and removed if it does not open (backup_rejected).
//
// The login is missing: a QR for 5 s where a login should be although nobody logged out,
// storage that fails for 10 s, or three failed starts of Chrome that are the profile's
// fault. The newest backup that opens and whose checksums hold is restored, at most once
// a day, and the profile that it replaces goes to quarantine. Without such a backup the
// login is lost (login_lost), and a QR is shown.
//
// The folder admin is not the one it was (its stamp, .session-manager, differs). Nothing
// is known about the login in it, so no backup is restored over it.
//
// # Backups
//
// The checksums prove that a backup is what a clean close left behind. That it holds a
// usable login is verified by opening it in a Chrome (package worker, VerifyBackup):
// after the planned restart at the backup hour, when nobody waits for the next Chrome,
// and otherwise before it is restored. The page is never loaded, since a second Chrome
// with the same login would take the session over from the first. A backup that can't
// be verified within 20 s is kept, and its checksums suffice. VerifiedAt in its manifest
// is when it was opened; of the three backups that are kept one is verified, if any is.
//
// A restore is all or nothing, because half a profile makes the page delete the other
// half: the backup is copied and checked first, and two renames follow, which the next
// start completes or undoes if this process dies between them. A restore for which this
// machine lacks something, such as room, is not given up: until then nothing is started.
//
// Export writes a closed profile or the newest backup as age(scrypt) over gzip over tar,
// with the manifest last. Import unpacks, checks, and replaces the profile as a restore does.
// A backup or an export without the page's localStorage, which holds the login, is an error.
//
// # Where the profile is
//
// The folder admin may be a link, a mount point, or on another file system than the rest:
// then it can't be moved. What would become its content is made in it, the former content is
// copied to quarantine, and one rename within the folder decides; the next start completes
// what follows that (profile.Replace). Of what is in admin, only caches may be elsewhere.
//
// A folder that another Chrome has written, such as a desktop's, may have several profiles.
// The one that was used last is meant. It is called Default from then on
// (profile.Adopt, profile_adopted); the former Default is kept under another name.
package login
