package routes

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"

	"github.com/sluice-rpc/sluice/internal/schema/route"
)

// The client's half of google/api/http.proto, "Path template syntax": it knows nothing of
// the matcher but the text of a template.

var variable = regexp.MustCompile(`\{([^=}]+)(?:=([^}]*))?\}`)

// expand makes a path that a template has to match, and what its variables stand for. With
// loose, letters that need no encoding are encoded now and then, in literals too.
func expand(r *rand.Rand, template string, loose bool) (path string, values []route.Capture) {
	done := 0
	for _, m := range variable.FindAllStringSubmatchIndex(template, -1) {
		path += literal(r, template[done:m[0]], loose)
		done = m[1]
		name, pattern := template[m[2]:m[3]], "*"
		if m[4] >= 0 {
			pattern = template[m[4]:m[5]]
		}
		value := ""
		if pattern == "*" {
			value = word(r, anything)
			path += encode(r, value, loose)
		} else {
			var raw []string
			for segment := range strings.SplitSeq(pattern, "/") {
				switch segment {
				case "*":
					value += "/" + word(r, unreserved)
				case "**":
					for range r.IntN(5) {
						value += "/" + word(r, unreserved)
					}
				default:
					value += "/" + segment
				}
			}
			value = strings.TrimPrefix(value, "/")
			for segment := range strings.SplitSeq(value, "/") {
				raw = append(raw, encode(r, segment, loose))
			}
			path += strings.Join(raw, "/")
		}
		values = append(values, route.Capture{Path: name, Value: value})
	}
	// What a ** stands for may be nothing, and then it has no slash.
	if end := template[done:]; strings.HasSuffix(path, "/") && (end == "" || end[0] == ':') {
		path = strings.TrimSuffix(path, "/")
	}
	return path + literal(r, template[done:], loose), values
}

// In a variable of one segment all characters may be; in one of several the reserved
// ones of RFC 6570 would stay encoded.
const (
	unreserved = "abcXYZ019-._~ %\"<>\\^`{|}äß€漢😀"
	anything   = unreserved + "/:?#[]@!$&'()*+,;="
)

// word returns letters of an alphabet, and four digits, so that it is no literal of a template.
func word(r *rand.Rand, alphabet string) string {
	letters := []rune(alphabet)
	var b strings.Builder
	for range r.IntN(8) {
		b.WriteRune(letters[r.IntN(len(letters))])
	}
	fmt.Fprintf(&b, "%04d", r.IntN(10_000))
	return b.String()
}

func plain(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || strings.IndexByte("-_.~", c) >= 0
}

// encode percent-encodes all characters but [-_.~0-9a-zA-Z].
func encode(r *rand.Rand, s string, loose bool) string {
	var b strings.Builder
	for i := range len(s) {
		switch {
		case plain(s[i]) && (!loose || r.IntN(8) > 0):
			b.WriteByte(s[i])
		case r.IntN(2) == 0:
			fmt.Fprintf(&b, "%%%02x", s[i])
		default:
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}

// literal writes the text between variables.
func literal(r *rand.Rand, s string, loose bool) string {
	if !loose {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if plain(s[i]) {
			b.WriteString(encode(r, s[i:i+1], true))
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
