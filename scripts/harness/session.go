package harness

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	_ "image/png" // for image.Decode
	"slices"
	"strings"
	"time"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

// Session is what GET /session reports, as far as it matters to programs here.
type Session struct {
	Status     string   `json:"status"`
	Reason     Reason   `json:"reason"`
	Warnings   []Reason `json:"warnings"`
	Registered bool     `json:"registered"`
	Phase      struct {
		Name string `json:"name"`
	} `json:"phase"`
	Page struct {
		Selectors struct {
			Source  string `json:"source"`
			Path    string `json:"path"`
			Refused string `json:"refused"`
		} `json:"selectors"`
	} `json:"page"`
	QR *struct {
		Generation uint64 `json:"generation"`
		Seq        uint64 `json:"seq"`
		Reader     string `json:"reader"`
	} `json:"qr"`
	// Worker is the instance that runs, PID 0 while none does.
	Worker struct {
		PID           int    `json:"pid"`
		Generation    uint64 `json:"generation"`
		AbnormalExits int    `json:"abnormal_exits"`
	} `json:"worker"`
	Browser *struct {
		PID    int    `json:"pid"`
		Engine string `json:"engine"`
	} `json:"browser"`
	Login    Login `json:"login"`
	LastExit *struct {
		Generation uint64 `json:"generation"`
		Reason     string `json:"reason"`
		Class      string `json:"class"`
		Detail     string `json:"detail"`
		WorkerExit string `json:"worker_exit"`
		ChromeExit string `json:"chrome_exit"`
		DelayMS    int64  `json:"delay_ms"`
	} `json:"last_exit"`
	// RetryAt is when the service tries again; nil while it waits for nothing.
	RetryAt *time.Time `json:"retry_at"`
}

// Reason is why the state is what it is.
type Reason struct {
	Code   string `json:"code"`
	Action string `json:"action"`
	Detail string `json:"detail"`
}

// Login is what the service knows of the login on disk.
type Login struct {
	PersistedAt  *time.Time `json:"persisted_at"`
	SettledAt    *time.Time `json:"settled_at"`
	BackupAt     *time.Time `json:"backup_at"`
	VerifiedAt   *time.Time `json:"backup_verified_at"`
	RestoredAt   *time.Time `json:"restored_at"`
	RestoredFrom string     `json:"restored_from"`
	LostAt       *time.Time `json:"lost_at"`
	Quarantined  string     `json:"quarantined"`
}

// Warned reports whether there are exactly the warnings with these codes.
func (v Session) Warned(codes ...string) bool {
	return slices.EqualFunc(v.Warnings, codes, func(w Reason, code string) bool { return w.Code == code })
}

// String describes the session in a line.
func (v Session) String() string {
	return fmt.Sprintf("%s (%s: %s) in phase %s", v.Status, v.Reason.Code, v.Reason.Detail, v.Phase.Name)
}

// Settled reports whether all is well: a QR of the running generation is served, or,
// if linked, the account is ready.
func (v Session) Settled(linked bool) bool {
	if v.Phase.Name != "page" || v.Browser == nil {
		return false
	}
	if linked {
		return v.Status == "READY" && v.Reason.Code == ""
	}
	return v.Status == "QR_REQUIRED" && v.QR != nil && v.QR.Generation == v.Worker.Generation
}

// PNG returns the PNG in a body of /qr, and nil for NO_QR. Anything but the two
// forms of the contract, to the letter, is an error.
func PNG(body string) ([]byte, error) {
	if body == `{"status":"NO_QR"}` {
		return nil, nil
	}
	encoded, ok := strings.CutPrefix(body, `{"status":"QR_AVAILABLE","qr":"`)
	encoded, ok2 := strings.CutSuffix(encoded, `"}`)
	if !ok || !ok2 {
		return nil, errors.New("/qr breaks its contract")
	}
	return base64.StdEncoding.DecodeString(encoded)
}

// Decode returns the payload of the QR in an image.
func Decode(png []byte) (string, error) {
	img, _, err := image.Decode(bytes.NewReader(png))
	if err != nil {
		return "", fmt.Errorf("cannot read the image: %w", err)
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		return "", fmt.Errorf("cannot read the image: %w", err)
	}
	result, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_PURE_BARCODE: true})
	if err != nil {
		return "", fmt.Errorf("cannot decode the QR: %w", err)
	}
	return result.GetText(), nil
}
