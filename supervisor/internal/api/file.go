package api

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/gorilla/mux"

	"session-manager/shared/logging"
	"session-manager/shared/rpc"
	"session-manager/supervisor/internal/inbox"
	"session-manager/supervisor/internal/logid"
	"session-manager/supervisor/internal/media"
)

const (
	// fileWait is how long a request waits for a file that is being downloaded.
	fileWait = 2 * time.Minute
	// fileTime bounds how long a caller may take to read a file, and fileIdle for a part of it.
	fileTime, fileIdle = 15 * time.Minute, 30 * time.Second
	// fileRetry is when to ask again for a file that could not be had now.
	fileRetry = 5 * time.Second
)

// file answers GET /media/{id}, with a file that is downloaded if need be, and HEAD with what is
// known of it.
func (m *received) file(r *http.Request) http.Handler {
	if m.inbox == nil {
		return receivingOff
	}
	id := mux.Vars(r)["id"]
	about, err := m.inbox.File(r.Context(), id)
	if err != nil {
		return m.noFile(err)
	}
	tag := `"` + about.SHA256 + `"`
	if knows(r.Header.Get("If-None-Match"), tag) {
		return tagged{tag, content{}}
	}
	if r.Method == http.MethodHead {
		return fileAnswer{about, tag, unread(about.Size)}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		release, bad := m.waits.take(r)
		if bad != nil {
			bad.ServeHTTP(w, r)
			return
		}
		defer release()
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(fileWait + fileIdle))
		ctx, cancel := context.WithTimeout(r.Context(), fileWait)
		defer cancel()
		go func() {
			select {
			case <-m.draining:
				cancel()
			case <-ctx.Done():
			}
		}()
		f, err := m.inbox.Open(ctx, id)
		if err != nil {
			m.noFile(err).ServeHTTP(w, r)
			return
		}
		defer func() { _ = f.Close() }()
		fileAnswer{about, tag, f}.ServeHTTP(w, r)
	})
}

// unread stands for the content of a file where only its size matters.
func unread(size int64) io.ReadSeeker { return io.NewSectionReader(strings.NewReader(""), 0, size) }

// fileAnswer answers with a file, or with the parts of it that are asked for.
type fileAnswer struct {
	inbox.Media
	tag     string
	content io.ReadSeeker
}

func (f fileAnswer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind, extension := safeType(f.MIME)
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": safeName(f.Name, f.ID+extension)}))
	h.Set("ETag", f.tag)
	http.ServeContent(&patientWriter{w, http.NewResponseController(w), time.Now().Add(fileTime)}, r, "", time.Time{}, f.content)
}

// patientWriter gives each part of a long answer some time.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	end     time.Time
}

func (w *patientWriter) Write(p []byte) (int, error) {
	until := time.Now().Add(fileIdle)
	if w.end.Before(until) {
		until = w.end
	}
	_ = w.control.SetWriteDeadline(until)
	return w.ResponseWriter.Write(p)
}

// safeTypes are the types that files are served as, with their extensions. None of them can
// have a script in a browser.
var safeTypes = map[string]string{
	"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/gif": ".gif", "video/mp4": ".mp4", "video/3gpp": ".3gp",
	"video/quicktime": ".mov", "audio/ogg": ".ogg", "audio/mpeg": ".mp3", "audio/mp4": ".m4a", "audio/aac": ".aac", "audio/amr": ".amr",
	"application/pdf": ".pdf",
}

// safeType returns the type that a file is served as, and its extension.
func safeType(declared string) (kind, extension string) {
	parsed, _, err := mime.ParseMediaType(declared)
	if extension = safeTypes[parsed]; err != nil || extension == "" {
		return anyBytes, ""
	}
	return parsed, extension
}

const longestExtension = 16

// safeName returns the name that a file is saved under: a stranger has chosen name.
func safeName(name, otherwise string) string {
	name = filepath.Base(strings.ReplaceAll(strings.ToValidUTF8(name, ""), `\`, "/"))
	name = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) || strings.ContainsRune(`"*/:<>?|`, c) {
			return -1
		}
		return c
	}, name)
	name = strings.Trim(name, ". ")
	if name == "" {
		return otherwise
	}
	extension := filepath.Ext(name)
	if len(extension) > longestExtension {
		extension = ""
	}
	stem := strings.TrimSuffix(name, extension)
	return strings.ToValidUTF8(stem[:min(len(stem), maxFileName-len(extension))], "") + extension
}

// fileRefusals are the answers to errors about files of received messages.
var fileRefusals = []refusal{
	{inbox.ErrUnknownFile, problem{
		Status: http.StatusNotFound, Code: "no_such_media", Detail: "No message with this file was received, or its text is no longer kept.",
	}},
	{inbox.ErrFilePending, filePending},
	{inbox.ErrFileDamaged, problem{
		Status: http.StatusBadGateway, Code: "media_damaged", Detail: "What was downloaded is not the file that was sent, by its size or its SHA-256.",
	}},
	{media.ErrTooLarge, fileTooLarge},
	{media.ErrFull, filePending}, // others that are being downloaded leave it no room
	{media.ErrNoSpace, noRoom},
}

var (
	filePending = problem{
		Status: http.StatusServiceUnavailable, Code: "media_pending", retryAfter: fileRetry,
		Detail: "The file is still being downloaded, or its sender is asked for it.", Hint: "Ask again; the download continues for a while.",
	}
	fileTooLarge = problem{
		Status: http.StatusRequestEntityTooLarge, Code: "media_too_large", Detail: "The file is larger than this service downloads.",
		Hint: "--media-limit sets how large a file may be.",
	}
	noRoom = problem{
		Status: http.StatusInsufficientStorage, Code: "disk_full", Detail: "The disk of the tokens folder has no room for the file.", Hint: "Free some space.",
	}
)

// noFile answers why there is no file.
func (m *received) noFile(err error) problem {
	bad := m.whyNoFile(err)
	if bad.Code == noPage.Code {
		bad.retryAfter = fileRetry
	}
	return bad
}

func (m *received) whyNoFile(err error) problem {
	if failed, ok := errors.AsType[*rpc.SendError](err); ok {
		return fileProblem(failed.Code)
	}
	for _, all := range [][]refusal{fileRefusals, inboxRefusals, refusals} {
		if bad, ok := refused(err, all); ok {
			return bad
		}
	}
	if errors.Is(err, inbox.ErrUnavailable) {
		return m.failed(err)
	}
	m.log.Warn(logid.CommandFailed, "command", "media", logging.KeyError, logging.Redact(err.Error()))
	return fileProblem(rpc.SendMediaFailed)
}

// fileProblem is the answer when the page could not download a file.
func fileProblem(code rpc.SendCode) problem {
	if bad, ok := pageLacks(code, "The page no longer has what files are downloaded with.", "Newer selectors may help."); ok {
		return bad
	}
	switch code {
	case rpc.SendMediaGone, rpc.SendMessageNotFound:
		return problem{
			Status: http.StatusGone, Code: "media_gone", Detail: "WhatsApp no longer has the file, and its sender was asked for it in vain; or its message was deleted.",
		}
	case rpc.SendMediaTooLarge:
		return fileTooLarge
	default:
		return problem{
			Status: http.StatusBadGateway, Code: "media_failed", Detail: "The page could not download the file.", Hint: "Try again later.",
		}
	}
}
