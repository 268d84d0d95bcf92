package profile

import (
	"os"
	"path/filepath"
	"strings"
)

// venomToken ends the name of venom-bot's file for a session.
const venomToken = ".data.json"

// OfVenom returns the paths of what venom-bot left in the tokens folder, none of which is
// used: the profile of a session called ADMIN, and files like ADMIN.data.json (folderNameToken
// and session in venom-bot's options).
func OfVenom(tokens string) ([]string, error) {
	entries, err := os.ReadDir(tokens)
	var found []string
	for _, e := range entries {
		if isOfVenom(e.Name()) {
			found = append(found, filepath.Join(tokens, e.Name()))
		}
	}
	return found, err
}

func isOfVenom(name string) bool {
	return strings.HasSuffix(name, venomToken) || name != session && strings.EqualFold(name, session)
}
