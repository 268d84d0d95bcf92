package diagnose

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/go-rod/rod/lib/proto"

	"session-manager/shared/logging"
)

// Bounds of an outline.
const (
	outlineLimit  = 64 << 10
	longestText   = 48
	longestLabel  = 80
	longestRead   = 4 << 10
	deepestIndent = 40
)

var (
	// codeLike is what could be a pairing code, or a part of one.
	codeLike = regexp.MustCompile(`^[A-Z0-9 ,-]{1,17}$`)
	digits   = regexp.MustCompile(`[0-9]{2,}`)
	// spelled is a pairing code in a label, letter by letter.
	spelled = regexp.MustCompile(`(?:\b[A-Z0-9]\b[ ,-]*){4,}`)
)

// outline writes the elements below root, one a line, with what a reader might
// look for. Texts are cut. With secret, letters and digits of all texts and labels
// are masked, since with the chats on the screen they are private.
func outline(root *proto.DOMNode, secret bool) string {
	o := &outliner{secret: secret}
	o.walk(root, 0)
	if o.full {
		o.out.WriteString("… more follows\n")
	}
	return o.out.String()
}

type outliner struct {
	out    strings.Builder
	secret bool
	full   bool
}

func (o *outliner) walk(n *proto.DOMNode, depth int) {
	if n == nil || o.full {
		return
	}
	name := strings.ToLower(n.NodeName)
	switch {
	case n.NodeType == nodeElement:
		o.line(depth, name+o.attributes(n.Attributes))
	case n.NodeType == nodeText:
		if text := strings.TrimSpace(n.NodeValue); text != "" {
			o.line(depth, fmt.Sprintf("%q", o.mask(text, longestText)))
		}
	case n.ShadowRootType != "":
		o.line(depth, "#shadow-root "+string(n.ShadowRootType))
	}
	if slices.Contains([]string{"script", "style", "svg", "noscript"}, name) {
		return
	}
	if n.ContentDocument != nil {
		o.line(depth+1, "#document of the frame")
	}
	for _, child := range slices.Concat(n.ShadowRoots, []*proto.DOMNode{n.ContentDocument}, n.Children) {
		o.walk(child, depth+1)
	}
}

// Types of nodes, as the DOM numbers them.
const (
	nodeElement = 1
	nodeText    = 3
)

func (o *outliner) line(depth int, text string) {
	line := strings.Repeat(" ", min(depth, deepestIndent)) + text + "\n"
	if o.out.Len()+len(line) > outlineLimit {
		o.full = true
		return
	}
	o.out.WriteString(line)
}

// attributes lists those that a reader may look for. Values are shown only where
// they name something; of data attributes only the names are shown.
func (o *outliner) attributes(list []string) string {
	var b strings.Builder
	for i := 0; i+1 < len(list); i += 2 {
		name, value := list[i], list[i+1]
		switch {
		case name == "class":
			fmt.Fprintf(&b, " class×%d", len(strings.Fields(value)))
		case name == "id", name == "role", name == "type", name == "name", name == "data-testid":
			fmt.Fprintf(&b, " %s=%q", name, maskDigits(logging.Truncate(logging.Redact(value), longestLabel)))
		case name == "aria-label", name == "title", name == "alt", name == "placeholder":
			fmt.Fprintf(&b, " %s=%q", name, o.mask(value, longestLabel))
		case strings.HasPrefix(name, "data-"), strings.HasPrefix(name, "aria-"), name == "hidden", name == "disabled":
			b.WriteString(" " + logging.Truncate(name, longestLabel))
		}
		if b.Len() > 4*longestLabel {
			b.WriteString(" …")
			break
		}
	}
	return b.String()
}

// mask hides in a text what could be private.
func (o *outliner) mask(text string, longest int) string {
	// A secret must be whole to be recognised, so it is removed first.
	text = logging.Redact(logging.Truncate(text, longestRead))
	text = strings.Join(strings.Fields(logging.Truncate(text, 4*longest)), " ")
	if o.secret || codeLike.MatchString(text) {
		return logging.Truncate(maskAll(text), longest)
	}
	text = spelled.ReplaceAllString(text, "[code]")
	return logging.Truncate(maskDigits(text), longest)
}

func maskAll(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r):
			return 'x'
		case unicode.IsNumber(r):
			return '0'
		}
		return r
	}, text)
}

// maskDigits leaves numbers of one digit, as in the names of elements, as they are.
func maskDigits(text string) string {
	return digits.ReplaceAllStringFunc(text, func(s string) string { return strings.Repeat("0", len(s)) })
}
