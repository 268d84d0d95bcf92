package profile

import (
	"os"
	"path/filepath"
)

// Identity tells folders at the profile's path apart, whatever they hold.
type Identity struct{ whole, inner os.FileInfo }

// Identity looks at the profile that is there now. It costs two calls of stat.
func (p *Profile) Identity() Identity {
	var i Identity
	if info, err := os.Stat(p.Dir()); err == nil {
		i.whole = info
	}
	// Chrome makes it at its first start, and never moves it.
	if info, err := os.Stat(filepath.Join(p.Dir(), "Default")); err == nil {
		i.inner = info
	}
	return i
}

// Complete says that Chrome has begun to use the folder.
func (i Identity) Complete() bool { return i.whole != nil && i.inner != nil }

// Is says whether both are the same folder, of which nothing was taken away. The
// zero Identity is no folder.
func (i Identity) Is(j Identity) bool {
	return i.Complete() && j.Complete() && os.SameFile(i.whole, j.whole) && os.SameFile(i.inner, j.inner)
}
