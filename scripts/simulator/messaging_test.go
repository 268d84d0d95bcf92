package simulator_test

import (
	"fmt"
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

// newSender returns a rig whose page is linked and can send.
func newSender(t *testing.T, o simulator.Options) *rig {
	t.Helper()
	r := newRig(t, o)
	r.open("")
	r.link()
	r.eval(sending)
	return r
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
	r.eval(sending)
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
	for name, expression := range map[string]string{
		"row":       `const row = await rowOf('` + to + `', '` + id + `'); return row.rowId > 1e9 && !JSON.stringify(row).includes('Hello')`,
		"content":   `return (await require('WAWebDBMessageSerialization').messageFromDbRow(await rowOf('` + to + `', '` + id + `'))).body === 'Hello'`,
		"read":      `for (;;) if ((await rowOf('` + to + `', '` + id + `')).ack === 3) return true`,
		"none":      `return (await require('WAWebQueryExistsJob').queryWidExists(require('WAWebWidFactory').createWid('15550009999@c.us'))) === null`,
		"spelling":  `return (await require('WAWebQueryExistsJob').queryPhoneExists('+5531987654321')).wid.toString() === '553187654321@c.us'`,
		"known":     `return require('WAWebCollections').Chat.get('15550101001@c.us').accountLid.isLid()`,
		"no string": `return require('WAWebCollections').Msg.getModelsArray()[0].id._serialized === undefined`,
		"history":   `return (await require('WAWebSchemaMessage').getMessageTable().all()).filter((row) => row.rowId < 1e9).length === 3`,
		"new id":    `return /^3EB0[0-9A-F]{18}$/.test(await require('WAWebMsgKey').newId())`,
	} {
		if name == "none" {
			r.SetPerson(simulator.Person{Phone: "15550009999", Absent: true})
		}
		if got := r.eval(`(async () => { ` + expression + ` })().then(String, String)`); got != "true" {
			t.Errorf("%s is not as read: %s", name, got)
		}
	}
	r.reopen()
	if got := r.eval(`rowOf('` + to + `', '` + id + `').then((row) => row.ack + ' ' + require('WAWebCollections').Msg.length)`); got != "3 0" {
		t.Errorf("after a reload the row's ack and the messages in memory are %s", got)
	}
}
