package transcode

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// bombSize is how large bombs are.
const bombSize = 4 << 20

// repeatTo repeats a part until it is a bomb.
func repeatTo(part string) string { return strings.Repeat(part, bombSize/len(part)) }

// manyKeys returns the members of a map, all different.
func manyKeys(value string) string {
	var b strings.Builder
	b.Grow(bombSize + 64)
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	for n := 0; b.Len() < bombSize; n++ {
		if n > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		for v := n; ; v /= len(digits) {
			b.WriteByte(digits[v%len(digits)])
			if v < len(digits) {
				break
			}
		}
		b.WriteString(`":` + value)
	}
	return b.String()
}

// nest puts what it is given into n of each other.
func nest(before, inner, after string, n int) string {
	return strings.Repeat(before, n) + inner + strings.Repeat(after, n)
}

// TestBombs decodes what costs most to decode. Each is 4 MB of JSON; memory must be a
// small multiple of it, all of it together, and time far below a second on an idle
// machine (the limit is loose, for machines that are not).
func TestBombs(t *testing.T) {
	sequential(t)
	o := newWireOracle(t)
	const wkt, tree, scalars = "sluice.test.p3.WellKnown", "sluice.test.p3.Tree", "sluice.test.p3.Scalars"
	const anyType = `"@type":"x/google.protobuf.Any"`
	late := func(n int, inner string) string { // Any in Any, the type of each behind its value
		return nest(`{"value":`, inner, ","+anyType+"}", n)
	}
	for _, c := range []struct {
		name    string
		message protoreflect.FullName
		json    string
		bytes   int    // that may be allocated
		err     string // what the error says, or ""
	}{
		{"brackets", "google.protobuf.Value", repeatTo("["), 12 << 20, "more than 100 levels"},
		{"brackets of a field", tree, `{"more":` + repeatTo("["), 12 << 20, "expects an object"},
		{"brackets of an unknown field", tree, `{"x":` + repeatTo("["), 12 << 20, "unknown field"},
		{"objects", tree, repeatTo(`{"left":`), 12 << 20, "more than 100 levels"},
		{"objects of a struct", "google.protobuf.Struct", repeatTo(`{"a":`), 12 << 20, "more than 100 levels"},
		{"a giant number", scalars, `{"fInt32":` + repeatTo("1") + `}`, 12 << 20, "expects a whole number"},
		{"a giant quoted number", scalars, `{"fInt32":"` + repeatTo("1") + `"}`, 12 << 20, "expects a whole number"},
		{"a giant exponent", scalars, `{"fInt32":1e` + repeatTo("1") + `}`, 16 << 20, "expects a whole number"},
		{"a giant double", scalars, `{"fDouble":` + repeatTo("1") + `}`, 16 << 20, "expects a number"},
		{"a giant fraction", scalars, `{"fDouble":0.` + repeatTo("1") + `}`, 12 << 20, ""},
		{"a giant string", scalars, `{"fString":"` + repeatTo("a") + `"}`, 12 << 20, ""},
		{"a giant string in 99 lists", "google.protobuf.Value", nest("[", `"`+repeatTo("a")+`"`, "]", 99), 24 << 20, ""},
		{"a giant string of escapes", scalars, `{"fString":"` + repeatTo(`\u0001`) + `"}`, 12 << 20, ""},
		{"a giant string of backslashes", scalars, `{"fString":"` + repeatTo(`\\`) + `"}`, 12 << 20, ""},
		{"giant bytes", scalars, `{"fBytes":"` + repeatTo("AAAA") + `"}`, 12 << 20, ""},
		{"a giant name", scalars, `{"` + repeatTo("a") + `":1}`, 12 << 20, "unknown field"},
		{"a giant name of an enum", scalars, `{"fEnum":"` + repeatTo("a") + `"}`, 12 << 20, "has no"},
		{"a giant time", wkt, `{"timestamp":"` + repeatTo("1") + `"}`, 24 << 20, "expects a time"},
		{"a giant duration", wkt, `{"duration":"` + repeatTo("1") + `s"}`, 12 << 20, "expects a duration"},
		{"many paths", wkt, `{"mask":"` + repeatTo("a,") + `a"}`, 40 << 20, ""},
		{"many unknown fields", tree, `{` + manyKeys("1") + `}`, 12 << 20, "unknown field"},
		{"many small messages", tree, `{"more":[` + repeatTo("{},") + `{}]}`, 16 << 20, ""},
		{"many elements", "sluice.test.p3.Lists", `{"fInt32":[` + repeatTo("1,") + `1]}`, 12 << 20, ""},
		{"many doubles", "sluice.test.p3.Lists", `{"fDouble":[` + repeatTo("1,") + `1]}`, 96 << 20, ""},
		{"many keys", "sluice.test.p3.Maps", `{"byString":{` + manyKeys(`""`) + `}}`, 32 << 20, ""},
		{"many keys of a struct", "google.protobuf.Struct", `{` + manyKeys("0") + `}`, 64 << 20, ""},
		{"Any in Any", wkt, `{"any":` + nest(`{`+anyType+`,"value":`, `{"@type":"x/google.protobuf.StringValue","value":"`+repeatTo("a")+`"}`, "}", 48) + `}`, 16 << 20, ""},
		{"Any in Any, types behind", wkt, `{"any":` + late(14, `{"@type":"x/google.protobuf.StringValue","value":"`+repeatTo("a")+`"}`) + `}`, 16 << 20, ""},
		{"Any in Any, types far behind", wkt, `{"any":` + late(97, `{"@type":"x/google.protobuf.ListValue","value":[`+repeatTo("0,")+`0]}`) + `}`, 64 << 20, "should come first"},
		{"Any without a type", wkt, `{"any":{"a":[` + repeatTo("0,") + `0]}}`, 12 << 20, `expects "@type"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, doc := testMessage(t, o.types, c.message), []byte(c.json)
			if _, err := m.AppendWire(nil, []byte("{}"), nil); c.message != "google.protobuf.Value" && err != nil {
				t.Fatal(err) // and its plan is made
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, err := m.AppendWire(nil, doc, nil)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %.200v, want %q", err, c.err)
			}
			if err != nil && len(err.Error()) > 2000 {
				t.Errorf("the error is %d bytes long", len(err.Error()))
			}
			if got := int(after.TotalAlloc - before.TotalAlloc); got > c.bytes {
				t.Errorf("allocated %d KiB, want at most %d", got>>10, c.bytes>>10)
			}
			if took > 20*time.Second {
				t.Errorf("took %v", took)
			}
			t.Logf("%v, %d KiB", took, (after.TotalAlloc-before.TotalAlloc)>>10)

			// With unknown fields ignored and the output limited nothing is worse.
			start = time.Now()
			out, err := m.AppendWire(nil, doc, &DecodeOptions{DiscardUnknown: true, MaxOutput: 1 << 20})
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %v when unknown fields are ignored", took)
			}
			if len(out) > 1<<20 {
				t.Errorf("%d bytes of output, the limit is 1 MiB: %v", len(out), err)
			}
		})
	}
}

// TestMaxOutput checks the limit to the byte.
func TestMaxOutput(t *testing.T) {
	o := newWireOracle(t)
	m, doc := testMessage(t, o.types, "sluice.test.shop.Order"), orderJSON(t)
	wire, err := m.AppendWire(nil, doc, nil)
	if err != nil {
		t.Fatal(err)
	}
	for limit := 1; limit <= len(wire)+1; limit++ {
		got, err := m.AppendWire([]byte("x"), doc, &DecodeOptions{MaxOutput: limit})
		if limit < len(wire) {
			if !errors.Is(err, ErrTooLarge) || string(got) != "x" {
				t.Fatalf("limit %d: %d bytes, %v", limit, len(got), err)
			}
		} else if err != nil || len(got) != len(wire)+1 {
			t.Fatalf("limit %d: %d bytes, %v", limit, len(got), err)
		}
	}
}

// TestDepth checks that both take as many levels of everything.
func TestDepth(t *testing.T) {
	sequential(t)
	o := newWireOracle(t)
	const anyMessage, anyAny = `"@type":"sluice.test.p3.WellKnown"`, `"@type":"google.protobuf.Any"`
	for _, c := range []struct {
		message              protoreflect.FullName
		before, inner, after string
	}{
		{"sluice.test.p3.Tree", `{"left":`, "{}", "}"},
		{"sluice.test.p3.Tree", `{"more":[`, "{}", "]}"},
		{"sluice.test.p3.Tree", `{"named":{"a":`, "{}", "}}"},
		{"sluice.test.p2.All", `{"[sluice.test.p2.ext_all]":`, "{}", "}"},
		{"sluice.test.ed.Mix", `{"delimited":`, "{}", "}"},
		{"google.protobuf.Value", `[`, "0", "]"},
		{"google.protobuf.Value", `{"a":`, "0", "}"},
		{"google.protobuf.Struct", `{"a":`, "{}", "}"},
		{"google.protobuf.ListValue", `[`, "[]", "]"},
		{"google.protobuf.Empty", `{"unknown":`, "{}", "}"},
		{"sluice.test.p3.Empty", `{"unknown":[`, "{}", "]}"},
		{"google.protobuf.Any", `{` + anyAny + `,"value":`, "{}", "}"},
		{"google.protobuf.Any", `{"value":`, "{}", "," + anyAny + "}"},
		{"sluice.test.p3.WellKnown", `{"any":{` + anyMessage + `,"any":{"any":`, "{}", "}," + anyMessage + "}}"},
		{"google.protobuf.Any", `{` + anyMessage + `,"any":`, "{}", "}"},
		{"google.protobuf.Any", `{"any":`, "{}", "," + anyMessage + "}"},
		{"google.protobuf.Any", `{"@type":"sluice.test.p3.WellKnownLists","any":[`, "{}", "]}"},
		{"google.protobuf.Any", `{"@type":"sluice.test.p3.WellKnown","value":[`, "{}", "]}"},
	} {
		m := testMessage(t, o.types, c.message)
		for _, discard := range []bool{false, true} {
			for n := range 103 {
				if n > 3 && n < 30 || n > 34 && n < 46 || n > 52 && n < 95 {
					continue // the limits are around a third, a half and all of MaxDepth
				}
				doc := nest(c.before, c.inner, c.after, n)
				o.check(t, m.desc, []byte(doc), discard)
				// Within an Any, whose braces are counted too.
				o.check(t, testMessage(t, o.types, "google.protobuf.Any").desc,
					[]byte(`{"@type":"sluice.test.p3.WellKnown","value":`+doc+`}`), discard)
				o.check(t, testMessage(t, o.types, "google.protobuf.Any").desc,
					[]byte(`{"@type":"sluice.test.p3.Tree","more":[`+doc+`]}`), discard)
			}
		}
	}
}
