package diagnose

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/go-rod/rod/lib/proto"
)

func TestOutlineIsBounded(t *testing.T) {
	t.Parallel()
	deep := &proto.DOMNode{NodeType: nodeElement, NodeName: "DIV"}
	for range 3000 {
		deep = &proto.DOMNode{NodeType: nodeElement, NodeName: "DIV", Children: []*proto.DOMNode{deep}}
	}
	long := &proto.DOMNode{NodeType: nodeText, NodeValue: strings.Repeat("word ", 1e6)}
	var wide []string
	for range 1000 {
		wide = append(wide, "data-"+strings.Repeat("x", 1000), "")
	}
	all := &proto.DOMNode{NodeType: nodeElement, NodeName: "BODY", Attributes: wide, Children: []*proto.DOMNode{long, deep}}
	for range 2000 {
		all.Children = append(all.Children, long)
	}
	out := outline(all, false)
	if len(out) > outlineLimit+100 || !strings.HasSuffix(out, "more follows\n") {
		t.Errorf("%d bytes", len(out))
	}
	for line := range strings.Lines(out) {
		if len(line) > 1000 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}

// FuzzOutline outlines any element. No QR payload, no code and no number gets
// through.
func FuzzOutline(f *testing.F) {
	f.Add("div", "aria-label", "Enter code on phone: A,B,C,D,1,2,3,4", "ABCD-1234", false)
	f.Add("x", "data-ref", "2@ref,", "a word before it", false)
	f.Add("p", "title", "+54 9 11 5000 0000", "Ada", true)
	f.Fuzz(func(t *testing.T, tag, name, value, text string, secret bool) {
		if strings.Contains(tag+name+value+text, "SecretSecret") {
			t.Skip("a part of a QR payload is not secret")
		}
		key := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
		login := "2@SecretSecret," + strings.Join([]string{key, key, key, "1"}, ",")
		root := &proto.DOMNode{NodeType: nodeElement, NodeName: tag, Attributes: []string{name, value + " " + login}, Children: []*proto.DOMNode{
			{NodeType: nodeText, NodeValue: text + " " + login},
		}}
		out := outline(root, secret)
		if len(out) > outlineLimit+100 {
			t.Fatalf("%d bytes", len(out))
		}
		if strings.Contains(out, "SecretSecret") {
			t.Fatal("a QR payload got through")
		}
	})
}
