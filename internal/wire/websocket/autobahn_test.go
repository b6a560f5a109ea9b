package websocket

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sluice-rpc/sluice/internal/race"
)

// A vector is a case of the Autobahn test suite
// (https://github.com/crossbario/autobahn-testsuite), or is made after one.
type vector struct {
	name  string
	in    []byte
	want  string
	whole string // with whole messages, if it is something else
	large bool   // not byte by byte
}

// kosme is the word of chapter 6.
const kosme = "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"

// what a decoder that delivers whole messages says of a message that ends in an error.
func (v *vector) wantWhole() string {
	if v.whole != "" {
		return v.whole
	}
	if i := strings.LastIndexByte(v.want, '!'); i >= 0 {
		open := max(strings.LastIndex(v.want, "T("), strings.LastIndex(v.want, "B("))
		if open >= 0 && !strings.Contains(v.want[open:], ")") {
			return v.want[:open+2] + v.want[i:]
		}
	}
	return v.want
}

func (v *vector) run(t *testing.T, d Decoder) {
	cuts := map[string]cut{"whole": uncut, "997": chops(997)}
	if !v.large {
		rnd := rand.New(rand.NewPCG(1, 2))
		cuts["bytewise"], cuts["random"], cuts["random again"] = bytewise, random(rnd), random(rnd)
	}
	for _, d.Whole = range []bool{false, true} {
		want := v.want
		if d.Whole {
			want = v.wantWhole()
		}
		for name, cut := range cuts {
			if got := decode(t, d, v.in, cut); got != want {
				t.Errorf("%s, whole messages %v: got %.300q, want %.300q", name, d.Whole, got, want)
			}
		}
	}
}

func TestAutobahn(t *testing.T) {
	all := chapters()
	if !race.Enabled { // with which megabytes take long
		all = append(all, limits()...)
	}
	for _, v := range all {
		t.Run(v.name, func(t *testing.T) { v.run(t, Decoder{MaxMessage: 16 << 20}) })
	}
}

func chapters() []vector {
	all := []vector{
		{name: "2.1 ping", in: pingFrame(""), want: " ping() "},
		{name: "2.2 ping with text", in: pingFrame("Hello, world!"), want: " ping(Hello, world!) "},
		{name: "2.3 ping with bytes", in: pingFrame("\x00\xff\xfe\xfd\xfc\xfb\x00\xff"), want: " ping(\x00\xff\xfe\xfd\xfc\xfb\x00\xff) "},
		{name: "2.4, 2.6 ping of 125 bytes", in: pingFrame(strings.Repeat("\xfe", 125)), want: " ping(" + strings.Repeat("\xfe", 125) + ") "},
		{name: "2.5 ping of 126 bytes", in: pingFrame(strings.Repeat("\xfe", 126)), want: "!1002"},
		{name: "2.7 pong nobody asked for", in: frames(frame(fin|byte(opPong), ""), closeFrame(1000, "")), want: " pong() close(1000 )"},
		{name: "2.8 pong with text", in: frame(fin|byte(opPong), "unsolicited"), want: " pong(unsolicited) "},
		{name: "2.9 pong and ping", in: frames(frame(fin|byte(opPong), "u"), pingFrame("p")), want: " pong(u)  ping(p) "},

		{name: "3.1 RSV 1", in: frame(fin|rsv3|1, "Hello"), want: "!1002"},
		{name: "3.2 RSV 2 after a message", in: frames(text("a"), frame(fin|rsv2|1, "b"), pingFrame("")), want: "T(a)!1002"},
		{name: "3.3 RSV 3", in: frames(text("a"), frame(fin|rsv2|rsv3|1, "b"), pingFrame("")), want: "T(a)!1002"},
		{name: "3.4 RSV 4 without compression", in: frames(text("a"), frame(fin|rsv1|1, "b"), pingFrame("")), want: "T(a)!1002"},
		{name: "3.5 RSV 5 of a binary message", in: frame(fin|rsv1|rsv3|2, "\x00\xff"), want: "!1002"},
		{name: "3.6 RSV 6 of a ping", in: frame(fin|rsv1|rsv2|9, ""), want: "!1002"},
		{name: "3.7 RSV 7 of a close", in: frame(fin|rsv1|rsv2|rsv3|8, "\x03\xe8"), want: "!1002"},

		{name: "5.1 ping in two fragments", in: frames(frame(9, "a"), frame(fin, "b")), want: "!1002"},
		{name: "5.2 pong in two fragments", in: frames(frame(10, "a"), frame(fin, "b")), want: "!1002"},
		{name: "5.3 to 5.5 text in two fragments", in: pieces(Text, "frag", "ment"), want: "T(fragment)"},
		{name: "5.6 to 5.8 with a ping between", in: frames(frame(1, "frag"), pingFrame("p"), frame(fin, "ment")), want: "T(frag ping(p) ment)", whole: "T( ping(p) fragment)"},
		{name: "5.9 to 5.11 continuation of nothing", in: frames(frame(fin, "a"), text("b")), want: "!1002"},
		{name: "5.12 to 5.14 unfinished continuation of nothing", in: frames(frame(0, "a"), text("b")), want: "!1002"},
		{name: "5.15 continuation after the end", in: frames(pieces(Text, "a", "b"), frame(0, "c"), text("d")), want: "T(ab)!1002"},
		{name: "5.16 continuation before the text", in: frames(frame(0, "a"), frame(1, "b"), frame(fin, "c")), want: "!1002"},
		{name: "5.17 final continuation before the text", in: frames(frame(fin, "a"), frame(1, "b"), frame(fin, "c")), want: "!1002"},
		{name: "5.18 two fragments, both text", in: frames(frame(1, "a"), frame(fin|1, "b")), want: "T(a!1002"},
		{
			name: "5.19, 5.20 five fragments and two pings",
			in: frames(frame(1, "f1"), frame(0, "f2"), pingFrame("p1"), frame(0, "f3"), frame(0, "f4"), pingFrame("p2"),
				frame(fin, "f5"), closeFrame(1000, "")),
			want: "T(f1f2 ping(p1) f3f4 ping(p2) f5)close(1000 )", whole: "T( ping(p1)  ping(p2) f1f2f3f4f5)close(1000 )",
		},

		{name: "6.1.1 empty text", in: text(""), want: "T()"},
		{name: "6.1.2 three empty fragments", in: pieces(Text, "", "", ""), want: "T()"},
		{name: "6.1.3 the middle one not empty", in: pieces(Text, "", "middle", ""), want: "T(middle)"},
		{name: "6.2.1 text", in: text("Hello-µ@ßöäüàá-UTF-8!!"), want: "T(Hello-µ@ßöäüàá-UTF-8!!)"},
		{name: "6.2.2 cut between characters", in: pieces(Text, "Hello-µ@ßöä", "üàá-UTF-8!!"), want: "T(Hello-µ@ßöäüàá-UTF-8!!)"},
		{name: "6.2.3 a fragment for each byte", in: pieces(Text, strings.Split("Hello-\u00b5@", "")...), want: "T(Hello-µ@)"},
		{name: "6.2.4 cut within characters", in: pieces(Text, "\xce", "\xba\xe1", "\xbd", "\xb9\xcf", "\x83\xce\xbc\xce", "\xb5"), want: "T(" + kosme + ")"},
		{name: "6.3.1 a surrogate in the middle", in: text(kosme + "\xed\xa0\x80edited"), want: "T(" + kosme + "\xed!1007"},
		{name: "6.3.2 the same in fragments", in: pieces(Text, kosme+"\xed", "\xa0\x80ed", "ited"), want: "T(" + kosme + "\xed!1007"},
		{name: "6.4.1 fails at the second of three fragments", in: frame(1, kosme+"\xf4\x90"), want: "T(" + kosme + "\xf4!1007"},
		{name: "6.4.2 fails at the byte", in: frames(frame(1, kosme+"\xf4"), frame(0, "\x90")), want: "T(" + kosme + "\xf4!1007"},
		{name: "6.4.3 fails within a frame", in: text(kosme + "\xf4\x90\x80\x80edited")[:6+11+2], want: "T(" + kosme + "\xf4!1007"},
		{name: "6.4.4 waits while it may be good", in: text(kosme + "\xf4\x90\x80\x80edited")[:6+11+1], want: "T(" + kosme + "\xf4", whole: "T("},

		{name: "7.1.1 text and close", in: frames(text("a"), closeFrame(1000, "")), want: "T(a)close(1000 )"},
		{name: "7.1.2 two closes", in: frames(closeFrame(1000, ""), closeFrame(1001, "")), want: "close(1000 )"},
		{name: "7.1.3 ping after close", in: frames(closeFrame(1000, ""), pingFrame("")), want: "close(1000 )"},
		{name: "7.1.4 text after close", in: frames(closeFrame(1000, ""), text("a")), want: "close(1000 )"},
		{name: "7.1.5 close within a message", in: frames(frame(1, "a"), closeFrame(1000, ""), frame(fin, "b")), want: "T(aclose(1000 )", whole: "T(close(1000 )"},
		{
			name: "7.1.6 256 KiB, close, ping", in: frames(text(strings.Repeat("B", 1<<18)), closeFrame(1000, ""), pingFrame("")),
			want: "T(" + strings.Repeat("B", 1<<18) + ")close(1000 )", large: true,
		},
		{name: "7.3.1 close without a code", in: frame(fin|8, ""), want: "close(1005 )"},
		{name: "7.3.2 close of one byte", in: frame(fin|8, "a"), want: "!1002"},
		{name: "7.3.3 close with a code", in: closeFrame(1000, ""), want: "close(1000 )"},
		{name: "7.3.4 close with a reason", in: closeFrame(1000, "Hello World!"), want: "close(1000 Hello World!)"},
		{name: "7.3.5 close with 123 bytes", in: closeFrame(1000, strings.Repeat("*", 123)), want: "close(1000 " + strings.Repeat("*", 123) + ")"},
		{name: "7.3.6 close with 124 bytes", in: closeFrame(1000, strings.Repeat("*", 124)), want: "!1002"},
		{name: "7.5.1 reason is not UTF-8", in: closeFrame(1000, kosme+"\xed\xa0\x80edited"), want: "!1007"},

		{name: "10.1.1 64 KiB in fragments of 1300", in: pieces(Text, chunks(strings.Repeat("*", 65536), 1300)...), want: "T(" + strings.Repeat("*", 65536) + ")", large: true},
	}
	for i, size := range []int{0, 125, 126, 127, 128, 65535, 65536} {
		s := strings.Repeat("*", size)
		all = append(all,
			vector{name: fmt.Sprintf("1.1.%d text of %d bytes", i+1, size), in: text(s), want: "T(" + s + ")", large: size > 1000},
			vector{name: fmt.Sprintf("1.2.%d binary of %d bytes", i+1, size), in: frame(fin|2, s), want: "B(" + s + ")", large: size > 1000})
	}
	var pings []byte
	want := ""
	for i := range 10 {
		s := fmt.Sprint("payload-", i)
		pings = append(pings, pingFrame(s)...)
		want += " ping(" + s + ") "
	}
	all = append(all, vector{name: "2.10, 2.11 ten pings", in: pings, want: want})
	for i, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		name := fmt.Sprintf("4.%d.%d opcode %d", 1+i/5, 1+i%5, op)
		all = append(all,
			vector{name: name, in: frame(fin|op, ""), want: "!1002"},
			vector{name: name + " after a message", in: frames(text("a"), frame(fin|op, "b"), pingFrame("")), want: "T(a)!1002"})
	}
	for i, code := range []Code{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999, 1012, 1013, 1014} {
		all = append(all, vector{
			name: fmt.Sprintf("7.7.%d code %d", i+1, code), in: closeFrame(code, "x"), want: fmt.Sprintf("close(%d x)", code),
		})
	}
	// 7.13: those that no RFC defines are refused too.
	for i, code := range []Code{0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535, 1015} {
		all = append(all, vector{name: fmt.Sprintf("7.9.%d code %d", i+1, code), in: closeFrame(code, "x"), want: "!1002"})
	}
	return all
}

// limits are chapter 9.
func limits() (all []vector) {
	for _, size := range []int{64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20} {
		s := strings.Repeat("0123456789abcdef", size/16)
		all = append(all, vector{name: fmt.Sprintf("9.1, 9.2, 9.5 a message of %d KiB", size>>10), in: text(s), want: "T(" + s + ")", large: true})
	}
	for _, size := range []int{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20} {
		s := strings.Repeat("0123456789abcdef", 4<<20/16)
		all = append(all, vector{
			name: fmt.Sprintf("9.3, 9.4 4 MiB in fragments of %d bytes", size),
			in:   pieces(Binary, chunks(s, size)...), want: "B(" + s + ")", large: true,
		})
	}
	return all
}

// chunks cuts s.
func chunks(s string, n int) (out []string) {
	for len(s) > n {
		out = append(out, s[:n])
		s = s[n:]
	}
	return append(out, s)
}

// TestUTF8 has the sequences of chapters 6.5 to 6.23, which are those of Markus Kuhn
// (https://www.cl.cam.ac.uk/~mgk25/ucs/examples/UTF-8-test.txt). What unicode/utf8 says
// of them is what is wanted.
func TestUTF8(t *testing.T) {
	chapters := map[string][]string{
		"6.5 a Greek word":                        {"cebae1bdb9cf83cebcceb5"},
		"6.7 first of each length":                {"00", "c280", "e0a080", "f0908080"},
		"6.8 first of too long ones":              {"f888808080", "fc8480808080"},
		"6.9 last of each length":                 {"7f", "dfbf", "efbfbf", "f48fbfbf"},
		"6.10 last of too long ones":              {"f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf"},
		"6.11 other boundaries":                   {"ed9fbf", "ee8080", "efbfbd", "f48fbfbf", "f4908080"},
		"6.12 unexpected continuations":           {"80", "bf", "80bf", "80bf80", "80bf80bf", "80bf80bf80", "80bf80bf80bf"},
		"6.13 lonely starts":                      {"c020c120", "e020e120ef20", "f020f120f720", "f820f920fa20fb20", "fc20fd20"},
		"6.14 without the last byte":              {"c0", "e080", "f08080", "f8808080", "fc80808080", "df", "efbf", "f7bfbf", "fbbfbfbf", "fdbfbfbfbf"},
		"6.15 several incomplete ones":            {"c0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf"},
		"6.16 impossible bytes":                   {"fe", "ff", "fefeffff"},
		"6.17 a slash in too many bytes":          {"c0af", "e080af", "f08080af", "f8808080af", "fc80808080af"},
		"6.18 the largest in too many bytes":      {"c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf"},
		"6.19 NUL in too many bytes":              {"c080", "e08080", "f0808080", "f880808080", "fc8080808080"},
		"6.20 surrogates":                         {"eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf"},
		"6.21 pairs of surrogates":                {"eda080edb080", "eda080edbfbf", "edadbfedb080", "edadbfedbfbf", "edae80edb080", "edafbfedbfbf"},
		"6.22 what is not a character, but valid": {"efbfbe", "efbfbf", "f09fbfbe", "f09fbfbf", "f0afbfbe", "f48fbfbe", "f48fbfbf"},
		"6.23 replacement character":              {"efbfbd"},
	}
	word := chapters["6.5 a Greek word"][0] // kosme
	for i := 2; i <= len(word); i += 2 {
		chapters["6.6 its prefixes"] = append(chapters["6.6 its prefixes"], word[:i])
	}
	for name, sequences := range chapters {
		t.Run(name, func(t *testing.T) {
			for _, s := range sequences {
				raw, err := hex.DecodeString(s)
				if err != nil {
					t.Fatal(err)
				}
				// Alone, and where eight bytes are looked at at a time.
				for _, around := range []string{"", "0123456", "01234567", "0123456789abcdef"} {
					p := around + string(raw) + around
					ok := utf8.ValidString(p)
					for cutAt := range len(p) + 1 {
						for _, whole := range []bool{false, true} {
							got := decode(t, Decoder{Whole: whole}, pieces(Text, p[:cutAt], p[cutAt:]), uncut)
							if ok && got != "T("+p+")" || !ok && !strings.HasSuffix(got, "!1007") {
								t.Errorf("%x cut at %d: %q", p, cutAt, got)
							}
						}
					}
					if got := decode(t, Decoder{}, text(p), bytewise); strings.HasSuffix(got, "!1007") == ok {
						t.Errorf("%x bytewise: %q", p, got)
					}
				}
			}
		})
	}
}
