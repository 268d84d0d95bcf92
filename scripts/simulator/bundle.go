package simulator

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"sync"
)

// script is the page's only one: the modules of pages/js, boot.js at the end. Requests for
// each of them would cost a browser as much as all else that the page does.
type script struct {
	text []byte
	// name follows from the text, so that a browser may keep it, as it keeps the real page's.
	name string
}

var (
	importLine = regexp.MustCompile(`(?m)^import (?:\* as (\w+)|\{([^}]*)\}) from '\./(\w+\.js)';$`)
	exportLine = regexp.MustCompile(`(?m)^export (?:\{([^}]*)\};|((?:async function|function|class|const) (?:(\w+)|\{([^}]*)\})))`)
)

var readScript = sync.OnceValues(func() (*script, error) {
	b := bundler{known: map[string]bool{}}
	if err := b.add("boot.js"); err != nil {
		return nil, err
	}
	text := "const $modules = {}, $links = [];\n" + b.names.String() + b.bodies.String()
	sum := sha256.Sum256([]byte(text))
	return &script{[]byte(text), hex.EncodeToString(sum[:6]) + ".js"}, nil
})

// bundler makes a function of each module, which fills an object with its exports. Modules
// that import each other get what was not there yet before the last one, boot.js, runs.
type bundler struct {
	known         map[string]bool
	names, bodies strings.Builder
}

func (b *bundler) add(name string) error {
	if b.known[name] {
		return nil
	}
	b.known[name] = true
	source, err := fs.ReadFile(files, "pages/js/"+name)
	if err != nil {
		return fmt.Errorf("cannot read a module of the page: %w", err)
	}
	var imported, linked strings.Builder
	for _, found := range importLine.FindAllStringSubmatch(string(source), -1) {
		all, some, from := found[1], found[2], found[3]
		if err := b.add(from); err != nil {
			return err
		}
		if all != "" {
			fmt.Fprintf(&imported, "const %s = $modules['%s'];\n", all, from)
			continue
		}
		fmt.Fprintf(&imported, "let %s;\n", strings.Trim(some, ", \n"))
		fmt.Fprintf(&linked, "({%s} = $modules['%s']);\n", some, from)
	}
	var exported []string
	for _, found := range exportLine.FindAllStringSubmatch(string(source), -1) {
		exported = append(exported, strings.TrimSpace(found[1]+found[3]+found[4]))
	}
	text := exportLine.ReplaceAllString(importLine.ReplaceAllString(string(source), ""), "$2")
	fmt.Fprintf(&b.names, "$modules['%s'] = {};\n", name)
	fmt.Fprintf(&b.bodies, "(() => {\n%s$links.push(() => {\n%s});\n$links.forEach((link) => link());\n%s\nObject.assign($modules['%s'], { %s });\n})();\n",
		imported.String(), linked.String(), text, name, strings.Join(exported, ", "))
	return nil
}
