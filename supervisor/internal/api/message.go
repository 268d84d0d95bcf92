package api

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/outbox"
)

// Bounds of a message. That of its text is rpc's, and that of the whole body maxMessageBody.
const (
	maxMentions = 100
	// minExpiry is how long a message may wait to be sent at least.
	minExpiry = time.Second
)

// messageBody is what POST /messages takes.
type messageBody struct {
	To   string `json:"to"`
	Type string `json:"type"`
	Text struct {
		Body    string `json:"body"`
		Preview bool   `json:"preview,omitempty"`
	} `json:"text"`
	ReplyTo   string        `json:"reply_to,omitempty"`
	Mentions  []string      `json:"mentions,omitempty"`
	ExpiresIn string        `json:"expires_in,omitempty"`
	Reference string        `json:"reference,omitempty"`
	ID        rpc.MessageID `json:"id,omitempty"`
	Caption   string        `json:"caption,omitempty"`
	// Media is only there to be refused.
	Media *struct {
		URL string `json:"url,omitempty"`
	} `json:"media,omitempty"`
}

// request checks a body, and returns what is put into the outbox. The hash does not depend
// on how the body was written, only on what it means. withFile means that a file comes with it.
func (b messageBody) request(withFile bool) (outbox.Request, *problem) {
	to, ok := parseRecipient(b.To)
	if !ok {
		return outbox.Request{}, invalidRecipient("to", b.To)
	}
	if bad := b.checkType(withFile); bad != nil {
		return outbox.Request{}, bad
	}
	mentions, bad := parseMentions(b.Mentions)
	if bad != nil {
		return outbox.Request{}, bad
	}
	expires, bad := parseExpiry(b.ExpiresIn)
	if bad != nil {
		return outbox.Request{}, bad
	}
	if bad := b.checkNames(); bad != nil {
		return outbox.Request{}, bad
	}
	b.To, b.ExpiresIn = string(to), ""
	if expires != 0 {
		b.ExpiresIn = expires.String()
	}
	for i, m := range mentions {
		b.Mentions[i] = string(m)
	}
	canonical, _ := json.Marshal(b) // it has a JSON form
	r := outbox.Request{
		Hash: sha256.Sum256(canonical), ExpiresIn: expires, Reference: b.Reference,
		Message: rpc.Message{
			ID: b.ID, To: to, Text: rpc.Secret(b.Text.Body), ReplyTo: b.ReplyTo, Mentions: mentions, Preview: b.Text.Preview,
		},
	}
	if withFile {
		r.Message.Text, r.Message.Media.Kind = rpc.Secret(strings.TrimSpace(b.Caption)), rpc.MediaKind(b.Type)
	}
	return r, nil
}

// fileHash adds a file to the hash of its message.
func fileHash(hash [32]byte, f rpc.Media, content [32]byte) [32]byte {
	return sha256.Sum256(slices.Concat(hash[:], content[:], []byte(f.MIME+"\x00"+string(f.Name))))
}

// checkType checks the type, and what it demands.
func (b messageBody) checkType(withFile bool) *problem {
	switch {
	case b.Type == "":
		return invalidField("type", `it is missing; write "text", or "image", "video", "audio" or "document" with a file`)
	case b.Media != nil:
		return &problem{
			Status: http.StatusUnprocessableEntity, Code: "unsupported_type", Field: "media",
			Detail: "Files are not fetched from elsewhere.", Hint: "Send the file itself, as the second part of multipart/form-data.",
		}
	case rpc.MediaKind(b.Type).Valid():
		return b.checkCaptioned(withFile)
	case b.Type != "text":
		return &problem{
			Status: http.StatusUnprocessableEntity, Code: "unsupported_type", Field: "type",
			Detail: fmt.Sprintf("Messages of the type %.40q are not supported.", b.Type), Hint: `Use "text", "image", "video", "audio" or "document".`,
		}
	case withFile:
		return invalidField("type", "a text has no file")
	case b.Caption != "":
		return invalidField("caption", "only a message with a file has one")
	case strings.TrimSpace(b.Text.Body) == "":
		return invalidField("text.body", "it is missing or blank")
	}
	return checkWords("text.body", b.Text.Body)
}

// checkCaptioned checks what a message with a file may have.
func (b messageBody) checkCaptioned(withFile bool) *problem {
	switch {
	case !withFile:
		return invalidField("type", `its file is missing; send multipart/form-data with the parts "message" and "media"`)
	case b.Text.Body != "" || b.Text.Preview:
		return invalidField("text", "a message with a file has a caption instead")
	}
	return checkWords("caption", b.Caption)
}

func checkWords(field, words string) *problem {
	switch {
	case len(words) > rpc.MaxMessageText:
		return &problem{
			Status: http.StatusRequestEntityTooLarge, Code: "text_too_long", Field: field,
			Detail: fmt.Sprintf("The text has more than %d bytes of UTF-8.", rpc.MaxMessageText),
		}
	case strings.ContainsRune(words, 0):
		return invalidField(field, "it has a NUL")
	}
	return nil
}

func (b messageBody) checkNames() *problem {
	switch {
	case b.ReplyTo != "" && !rpc.ValidTarget(b.ReplyTo):
		return invalidField("reply_to", "it is not the id of a message")
	case b.ID != "" && !b.ID.Valid():
		return invalidField("id", "it is not 3EB0 and 18 upper-case hexadecimal digits")
	case len(b.Reference) > outbox.MaxReference:
		return invalidField("reference", fmt.Sprintf("it has more than %d bytes", outbox.MaxReference))
	}
	return nil
}

func parseMentions(all []string) ([]rpc.Secret, *problem) {
	if len(all) > maxMentions {
		return nil, invalidField("mentions", fmt.Sprintf("there are more than %d", maxMentions))
	}
	var mentions []rpc.Secret
	for i, text := range all {
		address, ok := parseRecipient(text)
		if field := fmt.Sprintf("mentions[%d]", i); !ok || strings.HasSuffix(string(address), rpc.ServerGroup) {
			return nil, invalidRecipient(field, text)
		}
		mentions = append(mentions, address)
	}
	return mentions, nil
}

// parseExpiry returns 0 for the default.
func parseExpiry(text string) (time.Duration, *problem) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < minExpiry || d > outbox.MaxExpiry {
		return 0, invalidField("expires_in", fmt.Sprintf("it is not a duration from %s to %.0fh, such as 1h", minExpiry, outbox.MaxExpiry.Hours()))
	}
	return d, nil
}

// servers are the ends of addresses by which a person or a group may be named, and those of
// the page.
var servers = map[string]string{
	"c.us": rpc.ServerPhone, "s.whatsapp.net": rpc.ServerPhone, "lid": rpc.ServerLID, "g.us": rpc.ServerGroup,
}

// parseRecipient returns the page's address for a phone number in international form, or for
// an address with one of servers.
func parseRecipient(text string) (rpc.Secret, bool) {
	user, server, ok := strings.Cut(text, "@")
	if !ok {
		phone, ok := parsePhone(text)
		return phone + rpc.ServerPhone, ok
	}
	address := rpc.Secret(user + servers[server])
	return address, rpc.ValidRecipient(address)
}

// invalidRecipient is the answer to what parseRecipient refuses.
func invalidRecipient(field, text string) *problem {
	p := problem{
		Status: http.StatusBadRequest, Code: "invalid_recipient", Field: field,
		Detail: "The field " + field + " is not a phone number in international form, and not the address of a person or a group.",
		Hint:   "Write a plus sign, the country code and the number; or an address that ends in @c.us, @s.whatsapp.net, @lid or @g.us.",
	}
	if _, server, _ := strings.Cut(text, "@"); server == "broadcast" || server == "newsletter" {
		p.Detail = "Statuses, broadcast lists and channels can't be written to."
	}
	return &p
}

func invalidField(field, why string) *problem {
	return &problem{
		Status: http.StatusBadRequest, Code: "invalid_field", Field: field, Detail: "The field " + field + " can't be used: " + why + ".",
	}
}

// idempotencyKey returns the key of r, empty if it has none.
func idempotencyKey(r *http.Request) (string, *problem) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 || !outbox.ValidKey(values[0]) {
		return "", &problem{
			Status: http.StatusBadRequest, Code: "bad_idempotency_key",
			Detail: fmt.Sprintf("Idempotency-Key must be there once, with 1 to %d visible ASCII characters.", outbox.MaxKey),
		}
	}
	return values[0], nil
}
