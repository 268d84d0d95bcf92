package doctor

import (
	"context"
	"errors"
	"io/fs"

	"session-manager/supervisor/internal/profile"
)

// checkPlace reports where the login is, if that is not simply the tokens folder.
func checkPlace(tokens string) func(context.Context) Finding {
	return func(context.Context) Finding {
		place, err := profile.Locate(tokens)
		switch {
		case err == nil:
			return placed(place, tokens)
		case errors.Is(err, fs.ErrNotExist):
			return good("there is no profile yet")
		case errors.Is(err, profile.ErrElsewhere):
			return warning("the login can be neither backed up nor put away: %v", err).do("make %s itself the link or the mount point", place.Path)
		}
		return bad("%v", err).do("mount the disk that is missing, or remove the link")
	}
}

// placed is the finding about a place that can be used.
func placed(p profile.Place, tokens string) Finding {
	switch {
	case p.Overlay:
		return warning("%s is in an overlay, such as a container's own layer, and is lost with it", p.Path).do("mount a volume at %s", tokens)
	case p.TokensOverlay:
		return warning("%s outlives the container, but its backups and the quarantine in %s do not", p.Path, tokens).do("mount a volume at %s instead", tokens)
	case p.Target != "":
		return good("%s is a link to %s; backups and the quarantine are in %s", p.Path, p.Target, tokens)
	case p.Mounted:
		return good("%s is a mount point; backups and the quarantine are in %s", p.Path, tokens)
	case p.Apart:
		return good("%s is on another file system than %s, which has backups and the quarantine", p.Path, tokens)
	}
	return good("%s", p.Path)
}
