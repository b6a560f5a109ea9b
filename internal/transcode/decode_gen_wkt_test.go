package transcode

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// wellKnown writes a message with a form of its own.
func (g *jsonGen) wellKnown(md protoreflect.MessageDescriptor, depth int) bool {
	switch wellKnownOf(md) {
	case wktAny:
		g.any(depth)
	case wktTimestamp:
		at := time.Unix(g.Int64N(maxTimestamp-minTimestamp+1)+minTimestamp, 0)
		if g.chance(0.5) {
			at = at.Add(time.Duration(g.IntN(1e9)))
		}
		at = at.In(time.FixedZone("", 60*(g.IntN(1440)-720)))
		if g.chance(0.7) {
			at = at.UTC()
		}
		g.quote(at.Format(time.RFC3339Nano))
	case wktDuration:
		s := strconv.FormatInt(g.Int64N(2*maxDuration)-maxDuration, 10)
		if g.chance(0.5) {
			s += "." + strconv.Itoa(g.IntN(1e9))
		}
		if g.chance(0.1) {
			s = []string{"0", "-0.5", ".5", "1.", "+1", "."}[g.IntN(6)]
		}
		g.quote(s + "s")
	case wktWrapper:
		g.scalar(md.Fields().ByNumber(1).Kind(), nil)
	case wktStruct:
		g.members(g.IntN(3), func(i int) {
			g.name(strconv.Itoa(i) + g.text())
			g.value(depth - 1)
		})
	case wktListValue:
		g.put("[")
		for i := range g.IntN(3) {
			if i > 0 {
				g.put(",")
			}
			g.value(depth - 1)
		}
		g.put("]")
	case wktValue:
		g.value(depth)
	case wktFieldMask:
		paths := []string{"a", "fooBar.baz", "_x", "aB.cD,e", "A", "a.b.c1", ""}
		s := paths[g.IntN(len(paths))]
		for g.chance(0.4) && s != "" {
			s += "," + paths[g.IntN(len(paths)-1)]
		}
		g.quote(s)
	default:
		return false
	}
	return true
}

func (g *jsonGen) value(depth int) {
	switch n := g.IntN(7); {
	case n == 0:
		g.put("null")
	case n == 1:
		g.put("true")
	case n == 2:
		g.quote(g.text())
	case n == 3 && depth > 0:
		g.put("[")
		for i := range g.IntN(3) {
			if i > 0 {
				g.put(",")
			}
			g.value(depth - 1)
		}
		g.put("]")
	case n == 4 && depth > 0:
		g.members(g.IntN(3), func(i int) {
			g.name(strconv.Itoa(i) + g.text())
			g.value(depth - 1)
		})
	default:
		b, _ := json.Marshal(g.NormFloat64())
		g.put(string(b))
	}
}

// any writes an Any, its type in any place.
func (g *jsonGen) any(depth int) {
	if depth <= 0 || g.chance(0.1) {
		g.put("{}")
		return
	}
	md := g.messages[g.IntN(len(g.messages))]
	writeType := func() {
		g.name("@type")
		g.quote([]string{"type.googleapis.com/", "", "https://x.y/z/"}[g.IntN(3)] + string(md.FullName()))
	}
	first := g.chance(0.5)
	twice := g.chance(g.wrong)
	g.put("{")
	if first || twice {
		writeType()
	}
	more := first || twice
	inner := *g
	inner.out = bytes.Buffer{}
	if wellKnownOf(md) != notWellKnown {
		if more {
			inner.put(",")
		}
		inner.name("value")
		inner.message(md, depth-1)
	} else {
		inner.fields(md, depth-1, more)
	}
	body := inner.out.String()
	if strings.TrimSpace(body) == "," {
		body = ""
	}
	g.put(body)
	if !first {
		if more || strings.TrimSpace(body) != "" {
			g.put(",")
		}
		writeType()
	}
	g.put("}")
}
