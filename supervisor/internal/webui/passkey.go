package webui

import (
	"archive/zip"
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// signing is what runs in a person's browser on WhatsApp's page, as a script to paste or as
// an extension: sign.js is a function.
//
//go:embed passkey
var signing embed.FS

// signScript returns the function that signs a request, without its last semicolon.
func signScript() (string, error) {
	script, err := signing.ReadFile("passkey/sign.js")
	if err != nil {
		return "", fmt.Errorf("internal error: cannot read the signing script: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSpace(string(script)), ";"), nil
}

// signingWords are the names of the texts of the signing script, and where the page has them.
var signingWords = map[string]string{
	"sign": "passkeySignButton", "take": "passkeyTake", "copied": "passkeyCopied", "failed": "passkeyNotSigned",
}

// Extension returns a zip of an unpacked browser extension in one of Languages, which signs on
// the page at an address and has no other permission. It has its own words: any site can open
// that page with a request.
func (u *UI) Extension(address, language string) ([]byte, error) {
	page, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("cannot read the page's address: %w", err)
	}
	words := map[string]string{}
	for name, text := range signingWords {
		words[name] = u.languages[language].UI[text]
	}
	encoded, err := json.Marshal(words)
	if err != nil {
		return nil, fmt.Errorf("cannot write the extension: %w", err)
	}
	content, err := signing.ReadFile("passkey/content.js")
	if err != nil {
		return nil, fmt.Errorf("internal error: cannot read the extension: %w", err)
	}
	manifest, err := json.MarshalIndent(map[string]any{
		"manifest_version": 3, "name": "Passkey for a WhatsApp session", "version": "1",
		"description": "Signs a request for a passkey that your own session service shows, on WhatsApp's page, when you press a button.",
		"content_scripts": []any{map[string]any{
			// A pattern without a port matches all of them.
			"matches": []string{page.Scheme + "://" + page.Hostname() + "/*"}, "js": []string{"sign.js", "content.js"}, "run_at": "document_start",
		}},
	}, "", "  ")
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	for _, file := range []struct{ name, text string }{
		{"manifest.json", string(manifest)}, {"sign.js", "const sign = " + u.signing + ";\nconst words = " + string(encoded) + ";\n"}, {"content.js", string(content)},
	} {
		w, err := archive.Create(file.name)
		if err != nil {
			return nil, fmt.Errorf("cannot write the extension: %w", err)
		}
		if _, err := w.Write([]byte(file.text)); err != nil {
			return nil, fmt.Errorf("cannot write the extension: %w", err)
		}
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("cannot write the extension: %w", err)
	}
	return out.Bytes(), nil
}
