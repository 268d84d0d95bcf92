package strictjson

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestOneValueWithoutEqualKeysIsRead(t *testing.T) {
	for _, text := range []string{
		`{}`, ` {"a":1,"b":{"a":2},"c":[{"a":1},{"a":1}]} ` + "\n", `"a"`, `1e400`, `null`, `[]`, `{"":1}`, strings.Repeat("[", 90) + strings.Repeat("]", 90),
	} {
		if err := Check([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	var v struct{ A int }
	if err := Unmarshal([]byte(`{"a":1}`), &v); err != nil || v.A != 1 {
		t.Errorf("got %v, %v", v, err)
	}
}

func TestEqualKeysAndTrailingDataAreErrors(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":1,"a":2}`:           `"a" is there twice`,
		`{"a":1,"A":2}`:           `"A" is there twice`,
		`{"k":1,"\u212a":2}`:      "twice", // the Kelvin sign, which encoding/json takes for a k
		`{"s":1,"ſ":2}`:           "twice",
		`{"a":1,"\u0061":2}`:      "twice",
		`[{"b":{"a":1,"a":1}}]`:   "twice",
		`{"a":{"x":1},"a":{}}`:    "twice",
		`{} {}`:                   "follows",
		`{}}`:                     "follows",
		`{}]`:                     "follows",
		`{}x`:                     "follows",
		`{},`:                     "follows",
		`1 2`:                     "follows",
		``:                        "EOF",
		`{`:                       "EOF",
		`{"a"`:                    "EOF",
		`{"a":`:                   "EOF",
		`[1,`:                     "EOF",
		`{"a":1,}`:                "invalid",
		`[1 2]`:                   "invalid",
		strings.Repeat("[", 1000): "nested",
	} {
		if err := Unmarshal([]byte(text), new(any)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: got %v", text, err)
		}
	}
}

// What Check accepts encoding/json accepts, too.
func FuzzCheckAcceptsOnlyJSON(f *testing.F) {
	for _, text := range []string{`{"a":[1,{"b":null}]}`, `{"a":1} `, `[1,2,]`, `{"a" 1}`, `"\ud800"`, `{"a":1 "b":2}`, `[}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if Check([]byte(text)) == nil && !json.Valid([]byte(text)) {
			t.Errorf("%q is not JSON", text)
		}
	})
}
