package api

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/media"
	"session-manager/supervisor/internal/outbox"
)

const (
	// Uploads are few at once, in all and for each address: each holds a file and up to
	// maxMessageBody of memory.
	mostUploads, mostUploadsEach = 16, 8
	// uploadIdle is how long a caller may send nothing, and uploadTime how long all of it may
	// take.
	uploadIdle, uploadTime = 10 * time.Second, 15 * time.Minute
	// maxParts is what the parts of a body need besides the message and the file, in bytes.
	maxParts = 64 << 10
	// maxFileName bounds the name of a file, and maxMediaType its type, in bytes.
	maxFileName, maxMediaType = 255, 255
	// sniffed is how much of a file shows its type.
	sniffed = 512
)

const multipartType = "multipart/form-data"

// isUpload reports whether r has a message and a file.
func isUpload(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == multipartType
}

// acceptUpload answers POST /messages for a message with a file, which goes to disk as it
// arrives.
func (m *messages) acceptUpload(w http.ResponseWriter, r *http.Request, key string) http.Handler {
	release, bad := m.uploads.take(r)
	if bad != nil {
		return bad
	}
	defer release()
	if r.ContentLength > m.files.MaxFile()+maxMessageBody+maxParts {
		return m.tooLarge()
	}
	control := http.NewResponseController(w)
	upload := &patientBody{ReadCloser: r.Body, control: control, end: time.Now().Add(uploadTime), left: maxMessageBody + maxParts}
	r.Body = upload
	parts, err := r.MultipartReader()
	if err != nil {
		return badParts("it has no boundary")
	}
	var body messageBody
	if bad := readMessage(parts, &body); bad != nil {
		return bad
	}
	request, bad := body.request(true)
	if bad != nil {
		return bad
	}
	request.IdempotencyKey = key
	if key == "" && body.ID == "" && !linked(m.session.Snapshot()) {
		return notLinked
	}
	if bad := m.readFile(upload, parts, &request); bad != nil {
		return bad
	}
	_ = control.SetWriteDeadline(time.Now().Add(writeTime))
	return m.keep(r, request)
}

// writeTime is for keeping a message that was read, and for the answer.
const writeTime = 30 * time.Second

// patientBody is a body of which each part may take some time, unlike the whole of other
// requests.
type patientBody struct {
	io.ReadCloser
	control *http.ResponseController
	end     time.Time
	// left is how much may be read, in bytes: the file comes to it when it is the file's turn, so
	// that headers of its size don't fill the memory.
	left int64
}

func (b *patientBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, &http.MaxBytesError{Limit: maxMessageBody + maxParts}
	}
	n, err := b.read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func (b *patientBody) read(p []byte) (int, error) {
	until := time.Now().Add(uploadIdle)
	if b.end.Before(until) {
		until = b.end
	}
	if err := b.control.SetReadDeadline(until); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	_ = b.control.SetWriteDeadline(until.Add(writeTime)) // the server's counts from the request's start
	return b.ReadCloser.Read(p)
}

func (m *messages) tooLarge() *problem {
	return &problem{
		Status: http.StatusRequestEntityTooLarge, Code: "media_too_large", Field: "media",
		Detail: fmt.Sprintf("The file is larger than %d kB.", m.files.MaxFile()>>10), Hint: "--media-limit sets how large a file may be.",
	}
}

func badParts(why string) *problem {
	return &problem{
		Status: http.StatusBadRequest, Code: "bad_body", Detail: "The body is not a message with a file: " + why + ".",
		Hint: `Send multipart/form-data with two parts: first "message", the JSON object, then "media", the file.`,
	}
}

// nextPart returns the part with this name, which must be next.
func nextPart(parts *multipart.Reader, name string) (*multipart.Part, *problem) {
	part, err := parts.NextPart()
	switch {
	case errors.Is(err, io.EOF):
		return nil, badParts("the part " + name + " is missing")
	case err != nil:
		return nil, unreadable(err)
	case part.FormName() != name:
		return nil, badParts("the part " + name + " is missing, or not in its place")
	}
	return part, nil
}

func readMessage(parts *multipart.Reader, body *messageBody) *problem {
	part, bad := nextPart(parts, "message")
	if bad != nil {
		return bad
	}
	text, err := io.ReadAll(io.LimitReader(part, maxMessageBody+1))
	if err != nil {
		return unreadable(err)
	}
	if len(text) > maxMessageBody {
		return unreadable(&http.MaxBytesError{Limit: maxMessageBody})
	}
	if err := decode(text, body); err != nil {
		return badParts("the part message is not the expected JSON object: " + err.Error())
	}
	return nil
}

// readFile reads the file, which must be all that is left, into request.
func (m *messages) readFile(upload *patientBody, parts *multipart.Reader, request *outbox.Request) *problem {
	part, bad := nextPart(parts, "media")
	if bad != nil {
		return bad
	}
	upload.left += m.files.MaxFile()
	head, bad := m.readHead(part)
	if bad != nil {
		return bad
	}
	f := &request.Message.Media
	if f.MIME, bad = mediaType(f.Kind, part.Header.Get("Content-Type"), head); bad != nil {
		return bad
	}
	if f.Name, bad = fileName(part.FileName()); bad != nil {
		return bad
	}
	draft, err := m.files.Create()
	if err != nil {
		return m.unreadableFile(err)
	}
	if bad := m.fill(draft, io.MultiReader(bytes.NewReader(head), part), parts); bad != nil {
		draft.Discard()
		return bad
	}
	request.File, f.Size = draft, draft.Size()
	request.Hash = fileHash(request.Hash, *f, draft.Sum())
	return nil
}

// readHead returns as much of a file as shows its type.
func (m *messages) readHead(file io.Reader) ([]byte, *problem) {
	head := make([]byte, sniffed)
	n, err := io.ReadFull(file, head)
	switch {
	case errors.Is(err, io.EOF):
		return nil, invalidField("media", "it is empty")
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, m.unreadableFile(err)
	}
	return head[:n], nil
}

// fill writes a file, which must be all that is left of parts, to its draft.
func (m *messages) fill(draft *media.Draft, file io.Reader, parts *multipart.Reader) *problem {
	if _, err := io.Copy(draft, file); err != nil {
		return m.unreadableFile(err)
	}
	if bad := onlyFile(parts); bad != nil {
		return bad
	}
	if err := draft.Finish(); err != nil {
		return m.unreadableFile(err)
	}
	return nil
}

// onlyFile reports what comes after the file.
func onlyFile(parts *multipart.Reader) *problem {
	switch _, err := parts.NextPart(); {
	case err == io.EOF: // what was cut is an error that wraps it
		return nil
	case err != nil:
		return unreadable(err)
	}
	return badParts("there is another part after the file")
}

// unreadableFile is the answer when a file could not be read, or not be written.
func (m *messages) unreadableFile(err error) *problem {
	_, large := errors.AsType[*http.MaxBytesError](err)
	switch {
	case large, errors.Is(err, media.ErrTooLarge):
		return m.tooLarge()
	case errors.Is(err, media.ErrFull):
		bad := m.failed(outbox.ErrFull)
		bad.Detail, bad.Hint = "The outbox holds as many files as it may.", "Wait until some were erased; --media-disk-limit sets how much space they may take."
		return &bad
	case errors.Is(err, media.ErrNoSpace):
		bad := m.failed(outbox.ErrNoSpace)
		return &bad
	case errors.Is(err, media.ErrDisk):
		bad := m.failed(err)
		return &bad
	}
	return unreadable(err)
}

// mediaTypes are those that WhatsApp takes for each kind. Of documents it takes all.
var mediaTypes = map[rpc.MediaKind][]string{
	rpc.MediaImage: {"image/jpeg", "image/png", "image/webp"},
	rpc.MediaVideo: {"video/mp4", "video/3gpp", "video/quicktime"},
	rpc.MediaAudio: {"audio/ogg", "audio/mpeg", "audio/mp4", "audio/aac", "audio/amr"},
}

// anyBytes is the type of a file of which nobody knows more.
const anyBytes = "application/octet-stream"

// mediaType returns the type of a file that begins with head, of which the caller has declared
// one, perhaps anyBytes or none. What shows another type than the one declared is refused, as
// the recipient could not open it.
func mediaType(kind rpc.MediaKind, declared string, head []byte) (string, *problem) {
	if declared != "" {
		parsed, _, err := mime.ParseMediaType(declared)
		if err != nil || !strings.Contains(parsed, "/") || len(parsed) > maxMediaType {
			return "", unsupportedFile(kind, declared)
		}
		declared = parsed
	}
	if kind == rpc.MediaDocument {
		return cmp.Or(declared, anyBytes), nil
	}
	seen, taken := seenType(kind, head), mediaTypes[kind]
	if declared == "" || declared == anyBytes {
		declared = seen
	}
	// Of images all types show; of the others, Go knows some.
	if !slices.Contains(taken, declared) || kind == rpc.MediaImage && seen != declared || seen != anyBytes && !slices.Contains(taken, seen) {
		return "", unsupportedFile(kind, declared)
	}
	return declared, nil
}

// seenType returns the type that the beginning of a file shows, anyBytes if it shows none.
func seenType(kind rpc.MediaKind, head []byte) string {
	seen, _, _ := mime.ParseMediaType(http.DetectContentType(head))
	switch {
	case seen == "application/ogg":
		return "audio/ogg"
	case seen == "video/mp4" && kind == rpc.MediaAudio:
		return "audio/mp4"
	}
	return seen
}

func unsupportedFile(kind rpc.MediaKind, declared string) *problem {
	return &problem{
		Status: http.StatusUnprocessableEntity, Code: "unsupported_type", Field: "media",
		Detail: fmt.Sprintf("The file's type, %.100q, is not one that can be sent as %s, or the file is of another type.", declared, kind),
		Hint:   fmt.Sprintf("Use one of %s, named in the Content-Type of the part; or send it as a document.", strings.Join(mediaTypes[kind], ", ")),
	}
}

// fileName returns the name of a file as its recipient will see it.
func fileName(name string) (rpc.Secret, *problem) {
	if name == "" {
		return "document", nil
	}
	name = filepath.Base(name)
	if len(name) > maxFileName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) || strings.Trim(name, "./ ") == "" {
		return "", invalidField("media", "its file name is not valid")
	}
	return rpc.Secret(name), nil
}
