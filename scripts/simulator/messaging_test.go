package simulator_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"session-manager/scripts/simulator"
)

// sending is what a client of the page's modules does to send a text, with an id of its
// own. It returns what became of both promises.
const sending = `(() => {
window.sendText = async (to, text, id, { wait = true, ...options } = {}) => {
	const wid = require('WAWebWidFactory').createWid(to);
	const { chat } = await require('WAWebFindChatAction').findOrCreateLatestChat(wid, 'createChat');
	const data = await require('WAWebSendTextMsgChatAction').createTextMsgData(chat, text, options);
	const MsgKey = require('WAWebMsgKey');
	data.id = new MsgKey({ from: data.from, to: data.to, id, participant: data.id.participant, selfDir: 'out' });
	const [stored, sent] = require('WAWebSendMsgChatAction').addAndSendMsgToChat(chat, data);
	const model = await stored;
	return wait ? [model.ack, (await sent).messageSendResult, (await sent).ackErrorCode, model.ack, model.id.toString()].join(' ')
		: model.id.toString();
};
window.rowOf = async (to, id) => {
	const { getMsgsByMsgIdsAndChatId } = require('WAWebDBMsgUtils');
	const wid = require('WAWebWidFactory').createWid(to);
	const lid = require('WAWebApiContact').getCurrentLid(wid);
	const rows = await Promise.all([wid, lid].filter(Boolean).map((chat) => getMsgsByMsgIdsAndChatId([id], chat)));
	return rows.flat()[0];
};
window.failing = (promise) => promise.then(String, (error) => error.name + ': ' + error.message);
return '';
})()`

// uploading is what a client does to have a file uploaded.
const uploading = `
	const opaque = await require('WAWebMediaOpaqueData').createFromData(new Blob(['content']), 'text/plain');
	const prepared = await require('WAWebPrepRawMedia').prepRawMedia(opaque, { asDocument: true }).waitForPrep();
	const mediaObject = require('WAWebMediaStorage').getOrCreateMediaObject(prepared.filehash);
	mediaObject.consolidate(prepared.toJSON());
	const mediaType = require('WAWebMmsMediaTypes').msgToMediaType({ type: prepared.type });
	const { mediaEntry } = await require('WAWebMediaMmsV4Upload').uploadMedia({ mimetype: prepared.mimetype, mediaObject, mediaType });
	return mediaEntry.directPath.startsWith('/mms/document/') && prepared.size === 7 &&
		require('WAWebMediaGatingUtils').getUploadLimit('document') > require('WAWebMediaGatingUtils').getUploadLimit('image')`

// downloading is what whatsapp-web.js does to download the file of a message.
const downloading = `
	const msg = await new Promise((found) => {
		const { Msg } = require('WAWebCollections');
		const find = () => Msg.getModelsArray().find((m) => m.mimetype === 'image/png' && !m.id.fromMe);
		if (find()) found(find());
		else Msg.on('add', () => find() && found(find()));
	});
	if (msg.mediaData.mediaStage !== 'RESOLVED') await msg.downloadMedia({ downloadEvenIfExpensive: true, rmrReason: 1 });
	if (msg.mediaData.mediaStage.includes('ERROR') || msg.mediaData.mediaStage === 'FETCHING') return msg.mediaData.mediaStage;
	const { downloadManager } = require('WAWebDownloadManager');
	const data = await downloadManager.downloadAndMaybeDecrypt({
		directPath: msg.directPath, encFilehash: msg.encFilehash, filehash: msg.filehash, mediaKey: msg.mediaKey, mediaKeyTimestamp: msg.mediaKeyTimestamp,
		type: msg.type, signal: new AbortController().signal, downloadQpl: { addAnnotations() { return this; }, addPoint() { return this; } },
	});
	await msg.downloadMedia({ downloadEvenIfExpensive: true, rmrReason: 1, isUserInitiated: true });
	return [new TextDecoder().decode(data), msg.mimetype, msg.filename, msg.size, msg.caption, msg.mediaData.mediaStage,
		await msg.mediaData.mediaBlob.forceToBlob().text()].join() === 'pixels,image/png,cat.png,6,A cat,RESOLVED,pixels'`

// newSender returns a rig whose page is linked and can send.
func newSender(t *testing.T, o simulator.Options) *rig {
	t.Helper()
	r := newRig(t, o)
	r.open("")
	r.link()
	r.teach()
	return r
}

// teach makes the page know how to send, once it has its modules.
func (r *rig) teach() {
	r.t.Helper()
	check(r.t, r.page.Wait(evalUntil(`require('__debug').modulesMap.WAWebDBMsgUtils`)))
	r.eval(sending)
}

// reopen loads the page again, with switches of its own.
func (r *rig) reopen(faults ...string) {
	r.t.Helper()
	r.ClearFaults()
	for _, fault := range faults {
		check(r.t, r.SetFault(fault))
	}
	r.open("")
	r.untilNamed("MAIN")
	r.teach()
}

// messageID makes an id of the page's form.
func messageID(n int) string { return fmt.Sprintf("3EB0%018X", n) }

func TestTextIsSentUnderChosenID(t *testing.T) {
	r := newSender(t, simulator.Options{})
	id := messageID(1)
	const to = "5491123456789@c.us"
	if got := r.eval(`sendText('` + to + `', ' Hello ', '` + id + `')`); !strings.HasPrefix(got, "0 OK  1 true_") || !strings.Contains(got, "@lid_"+id) {
		t.Errorf("the promises gave %q", got)
	}
	sent := r.Sent()
	if len(sent) != 1 || sent[0].ID != id || sent[0].Text != "Hello" || sent[0].Chat != to || sent[0].Ack != 1 || len(sent[0].Times) != 1 {
		t.Fatalf("the server has %+v", sent)
	}
	if got := r.eval(`failing(sendText('` + to + `', 'Again', '` + id + `'))`); !strings.HasPrefix(got, "DuplicateMessageError") {
		t.Errorf("the same id gave %q", got)
	}
	check(t, r.Ack(id, 3))
	r.checkModules(to, id)
	r.checkReactions(to, id)
	r.reopen()
	if got := r.eval(`rowOf('` + to + `', '` + id + `').then((row) => row.ack + ' ' + require('WAWebCollections').Msg.length)`); got != "3 0" {
		t.Errorf("after a reload the row's ack and the messages in memory are %s", got)
	}
}

// checkReactions has somebody react to a message, otherwise, and take that back, as whatsapp-web.js
// hears and reads it.
func (r *rig) checkReactions(to, id string) {
	r.t.Helper()
	r.eval(`(() => {
		window.heard = [];
		const mode = require('WAWebAddonReactionTableMode').reactionTableMode, upsert = mode.bulkUpsert;
		mode.bulkUpsert = (all) => {
			heard.push(...all.map((r) => (r.author ?? r.from)._serialized + r.reactionText + r.reactionParentKey.id));
			return upsert(all);
		};
		return '';
	})()`)
	// Somebody of another chat can't react to this message.
	r.Deliver(simulator.Incoming{From: "15550101001", Text: "👍", Reacts: id})
	for _, reaction := range []struct{ emoji, want string }{
		{"👍", "👍" + to + "true"}, {"🎉", "🎉" + to + "true"}, {"", "false"},
	} {
		r.Deliver(simulator.Incoming{From: strings.TrimSuffix(to, "@c.us"), Text: reaction.emoji, Reacts: id})
		r.eval(fmt.Sprintf(`(async () => {
			for (;;) {
				const row = await rowOf('%s', '%s');
				const { reactions } = await require('WAWebCollections').Reactions.find(row.id);
				const shown = reactions.serialize().map((g) => g.aggregateEmoji + g.senders.map((s) => s.senderUserJid)).join() + row.hasReaction;
				if (shown === '%s' && heard.at(-1) === '%s%s%s') return '';
			}
		})()`, to, id, reaction.want, to, reaction.emoji, id))
	}
	if got := r.eval(`String(heard.length)`); got != "3" {
		r.t.Errorf("%s reactions were heard", got)
	}
}

// checkModules compares what modules answer about a message and people with what was read of
// WhatsApp's.
func (r *rig) checkModules(to, id string) {
	r.t.Helper()
	r.SetPerson(simulator.Person{Phone: "15550009999", Absent: true})
	r.Deliver(simulator.Incoming{From: "15550101001", Kind: "image", Text: "A cat", File: &simulator.IncomingFile{MIME: "image/png", Name: "cat.png", Content: []byte("pixels")}})
	for name, expression := range map[string]string{
		"row":       `const row = await rowOf('` + to + `', '` + id + `'); return row.rowId > 1e9 && !JSON.stringify(row).includes('Hello')`,
		"content":   `return (await require('WAWebDBMessageSerialization').messageFromDbRow(await rowOf('` + to + `', '` + id + `'))).body === 'Hello'`,
		"read":      `for (;;) if ((await rowOf('` + to + `', '` + id + `')).ack === 3) return true`,
		"none":      `return (await require('WAWebQueryExistsJob').queryWidExists(require('WAWebWidFactory').createWid('15550009999@c.us'))) === null`,
		"spelling":  `return (await require('WAWebQueryExistsJob').queryPhoneExists('+5531987654321')).wid.toString() === '553187654321@c.us'`,
		"known":     `return require('WAWebCollections').Chat.get('15550101001@c.us').accountLid.isLid()`,
		"no string": `return require('WAWebCollections').Msg.getModelsArray()[0].id._serialized === undefined`,
		"history":   `return (await require('WAWebSchemaMessage').getMessageTable().all()).filter((row) => row.rowId < 1e9).length === 3`,
		"file":      uploading,
		"no file": `const opaque = await require('WAWebMediaOpaqueData').createFromData(new Blob([]), 'text/plain');
			return (await failing(require('WAWebPrepRawMedia').prepRawMedia(opaque).waitForPrep())).startsWith('MediaFileEmpty')`,
		"received file": downloading,
		"new id":        `return /^3EB0[0-9A-F]{18}$/.test(await require('WAWebMsgKey').newId())`,
	} {
		if got := r.eval(`(async () => { ` + expression + ` })().then(String, String)`); got != "true" {
			r.t.Errorf("%s is not as read: %s", name, got)
		}
	}
	if u := r.Uploads(); len(u) != 1 || u[0].Size != 7 || u[0].SHA256 != fmt.Sprintf("%x", sha256.Sum256([]byte("content"))) {
		r.t.Errorf("the server has %+v", u)
	}
}

// TestSendsMisbehaveAsSwitched has one page for all switches of the server.
func TestSendsMisbehaveAsSwitched(t *testing.T) {
	r := newSender(t, simulator.Options{})
	for i, row := range []struct {
		fault, to, want string
		times           int
	}{
		{"ack=refuse:479", "15550102001", "0 ERROR_UNKNOWN 479 -1", 1},
		{"socket=drop-after-write", "15550102001", "0 OK  1", 2},
		{"socket=drop-before-write", "15550102001", "0 OK  1", 1},
		{"ack=late:50", "15550102001", "0 OK  1", 1},
		{"timelock=contact", "15550102001", "0 ERROR_UNKNOWN 463 -1", 1},
		{"timelock=account:5", "15550101001", "0 OK  1", 1},
		{"capping=capped", "15550102001", "0 ERROR_UNKNOWN 475 -1", 1},
		{"exists=none", "15550102001", "0 OK  1", 1},
	} {
		t.Run(row.fault, func(t *testing.T) {
			r.row(t)
			r.ClearFaults()
			check(t, r.SetFault(row.fault))
			id := messageID(i)
			if got := r.eval(`sendText('` + row.to + `@c.us', '` + row.fault + `', '` + id + `')`); !strings.HasPrefix(got, row.want) {
				t.Errorf("the promises gave %q", got)
			}
			sent := r.Sent()
			last := sent[len(sent)-1]
			if last.ID != id || last.Text != row.fault || len(last.Times) != row.times || last.Altered {
				t.Errorf("the server has %+v", last)
			}
		})
	}
	r.row(t)
	for fault, expression := range map[string]string{
		"timelock=account:5": `require('WAWebReachoutTimelockUtils').isUserReachoutTimelocked() &&
			require('WAWebUserPrefsIndexedDBStorage').userPrefsIdb.get('WAReachoutTimelockState').time_enforcement_ends > Date.now()`,
		"capping=warning": `!require('WAWebIndividualNewChatMessageCappingLimitUtils').isUserCapped() &&
			require('WAWebUserPrefsIndexedDBStorage').userPrefsIdb.get('WANewChatMessageCappingData').used_quota === 80`,
		"challenge=passkey": `require('WAWebUserPrefsIndexedDBStorage').userPrefsIdb.get('WAIntegrityChallengeState')?.challenge_type === 'PASSKEY'`,
		"exists=none":       `window.answer === 'null'`,
		"exists=error":      `/^ServerStatusCodeError/.test(window.answer)`,
	} {
		r.ClearFaults()
		check(t, r.SetFault(fault))
		r.eval(`failing(require('WAWebQueryExistsJob').queryPhoneExists('+15550102001')).then((answer) => { window.answer = answer; return ''; })`)
		check(t, r.page.Wait(evalUntil(expression)))
	}
	r.eval(`String(window['webpackChunk' + 'whatsapp_web_client'])`)
	check(t, r.Await(r.ctx, func(simulator.Screen) bool { return r.Traps() == 1 }))
}

// TestUnacknowledgedMessageFailsOnlyByReload follows a message through two lives of a page.
func TestUnacknowledgedMessageFailsOnlyByReload(t *testing.T) {
	r := newSender(t, simulator.Options{})
	id := messageID(1)
	const to = "15550101001@c.us"
	check(t, r.SetFault("ack=never"))
	key := r.eval(`sendText('` + to + `', 'Hello', '` + id + `', { wait: false })`)
	arrived := func(times int) {
		t.Helper()
		check(t, r.AwaitSent(r.ctx, func(s []simulator.Sent) bool { return len(s) == 1 && len(s[0].Times) == times }))
	}
	arrived(1)
	r.Disconnect()
	arrived(2)
	if got := r.eval(`String(require('WAWebCollections').Msg.hasUnsentMessages())`); got != "true" {
		t.Errorf("hasUnsentMessages is %s", got)
	}
	r.reopen()
	const state = `rowOf('` + to + `', '%s').then((row) => row.ack + ' ' + row.isSendFailure)`
	if got := r.eval(fmt.Sprintf(state, id)); got != "0 undefined" || len(r.Sent()[0].Times) != 2 {
		t.Errorf("after a reload the row has %s, and the server %d copies", got, len(r.Sent()[0].Times))
	}
	got := r.eval(`require('WAWebCollections').Msg.getMessagesById(['` + key + `']).then(async ({ messages: [model] }) => {
		const failed = model.isSendFailure;
		const sent = await require('WAWebResendMsgAction').resendMsg(model);
		return failed + ' ' + sent.messageSendResult + ' ' + model.ack;
	})`)
	if got != "true OK 1" || len(r.Sent()[0].Times) != 3 {
		t.Errorf("a resend gave %q, and the server has %d copies", got, len(r.Sent()[0].Times))
	}
}

// TestPageReloadsInMidSend looks at what each stage leaves behind.
func TestPageReloadsInMidSend(t *testing.T) {
	r := newSender(t, simulator.Options{})
	for i, row := range []struct {
		stage, row string
		sent       int
	}{
		{"built", "none", 0}, {"stored", "0", 0}, {"written", "0", 1}, {"acked", "0", 1},
	} {
		t.Run(row.stage, func(t *testing.T) {
			r.row(t)
			r.reopen("reload=in-send:" + row.stage)
			before, id := r.OnScreen().Load, messageID(i)
			r.eval(`(() => { sendText('15550101001@c.us', 'Hello', '` + id + `'); return ''; })()`)
			check(t, r.Await(r.ctx, func(c simulator.Screen) bool { return c.Load > before && c.Name == "MAIN" }))
			r.teach()
			if got := r.eval(`rowOf('15550101001@c.us', '` + id + `').then((row) => String(row?.ack ?? 'none'))`); got != row.row {
				t.Errorf("the row has %s", got)
			}
			sent := slices.DeleteFunc(r.Sent(), func(s simulator.Sent) bool { return s.ID != id })
			if len(sent) != row.sent {
				t.Errorf("the server has %v", sent)
			}
		})
	}
}

// TestPageChangesAsSwitched has one load for what excludes nothing else.
func TestPageChangesAsSwitched(t *testing.T) {
	r := newSender(t, simulator.Options{})
	for _, row := range []struct {
		faults []string
		checks map[string]string // what an expression gives, as a text
	}{
		{[]string{"key=serialized", "seen=throws", "signature=changed:WAWebSendMsgChatAction", "modules=missing:WAWebApiContact", "chats=2000", "lid=missing"},
			map[string]string{
				`(await require('WAWebMsgKey').fromString('true_1@c.us_X'))._serialized`:                                            "true_1@c.us_X",
				`failing(require('WAWebUpdateUnreadChatAction').sendSeen({ chat: require('WAWebCollections').Chat.head() }))`:       "TypeError: Cannot read properties of undefined (reading 'markedUnread')",
				`(() => { try { require('WAWebSendMsgChatAction').addAndSendMsgToChat({}, {}); } catch (e) { return e.name; } })()`: "TypeError",
				`(() => { try { require('WAWebApiContact'); } catch (e) { return e.message; } })()`:                                 `Requiring unknown module "WAWebApiContact"`,
				`require('WAWebCollections').Chat.length`:                                                                           "2004",
				`failing(sendText('15550102001@c.us', 'x', 'X'))`:                                                                   "Error: No LID for user",
			}},
		{[]string{"chat=readonly", "store=fail", "lid=off"}, map[string]string{
			`require('WAWebCollections').Chat.get('` + simulator.Group + `').isReadOnly`: "true",
			`failing(sendText('15550102001@c.us', 'x', 'X'))`:                            "QuotaExceededError: no space is left",
		}},
		{[]string{"chat=blocked", "lid=off"}, map[string]string{
			`failing(sendText('15550101002@c.us', 'x', 'X'))`: "Error: the contact is blocked",
		}},
		{[]string{"store=duplicate"}, map[string]string{
			`failing(sendText('15550101001@c.us', 'x', 'X')).then(async (e) => e.split(':')[0] + ' ' + (await rowOf('15550101001@c.us', 'X')).ack)`: "DuplicateMessageError 0",
		}},
		{[]string{"offline=queue:3", "cipher=late:1"}, map[string]string{
			`[require('WAWebCollections').Msg.length, require('WAWebCollections').Chat.get('15550101001@c.us').unreadCount]`:                                                      "0,3",
			`require('WAWebSchemaMessage').getMessageTable().greaterThan(['rowId'], 1e9, { limit: 100 }).then((rows) => rows.filter((row) => row.id.startsWith('false')).length)`: "3",
		}},
	} {
		t.Run(row.faults[0], func(t *testing.T) {
			r.row(t)
			r.reopen(row.faults...)
			for expression, want := range row.checks {
				if got := r.eval(`(async () => String(await ` + expression + `))()`); got != want {
					t.Errorf("%s gives %q", expression, got)
				}
			}
		})
	}
	r.row(t)
	r.eval(`(() => { window.heard = []; require('WAWebCollections').Msg.on('add change:type', (m) => heard.push(m.type, m.isNewMsg, m.body)); return ''; })()`)
	r.Receive("15550103001", "Hi")
	check(t, r.page.Wait(evalUntil(`window.heard.join() === 'ciphertext,true,,chat,true,Hi'`)))
	if len(r.Sent()) != 0 {
		t.Errorf("the server has %v", r.Sent())
	}
}
