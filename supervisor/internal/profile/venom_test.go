package profile

import "testing"

func TestVenomsFilesAreRecognisedByName(t *testing.T) {
	for name, want := range map[string]bool{
		"ADMIN": true, "Admin": true, "ADMIN.data.json": true, "admin.data.json": true, "other.data.json": true,
		"admin": false, "admin.lock": false, "admin.login": false, "admin.backups": false, "admin.quarantine": false,
		"ADMIN.backups": false, "administrator": false, "demo": false, "README.md": false, "crashes": false, "data.json": false,
	} {
		if got := isOfVenom(name); got != want {
			t.Errorf("%s: %t, want %t", name, got, want)
		}
	}
}
