package doctor

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"session-manager/supervisor/internal/login"
)

func TestLoginTellsHowWellItIsKept(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		memory *login.Record
		mark   Mark
		word   string
	}{
		"nothing known":   {nil, Good, "no phone"},
		"logged out":      {&login.Record{LinkedAt: now, LoggedOutAt: now}, Good, "no phone"},
		"linked":          {&login.Record{LinkedAt: now, BackupAt: now}, Good, "none was opened on trial"},
		"copy verified":   {&login.Record{LinkedAt: now, BackupAt: now, BackupVerifiedAt: now}, Good, "one was opened on trial"},
		"never copied":    {&login.Record{LinkedAt: now}, Warning, "--backup-hour"},
		"copied long ago": {&login.Record{LinkedAt: now, BackupAt: now.Add(-100 * time.Hour)}, Warning, "backup_create_failed"},
		"lost":            {&login.Record{LostAt: now}, Warning, "link the phone again"},
	} {
		t.Run(name, func(t *testing.T) {
			tokens := t.TempDir()
			if tt.memory != nil {
				data, err := json.Marshal(tt.memory)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(tokens, "admin.login"), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			expect(t, Options{Tokens: tokens}.checkLogin(t.Context()), tt.mark, tt.word)
		})
	}
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "admin.login"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, Options{Tokens: broken}.checkLogin(t.Context()), Warning, broken)
}
