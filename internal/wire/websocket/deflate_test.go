package websocket

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"

	"github.com/sluice-rpc/sluice/internal/race"
)

// both are all that can be agreed upon about takeover, with some windows.
var both = []DeflateParams{
	{},
	{ServerNoContextTakeover: true, ClientNoContextTakeover: true},
	{ServerNoContextTakeover: true},
	{ClientNoContextTakeover: true},
	{ServerMaxWindowBits: 8, ClientMaxWindowBits: 8},
	{ServerMaxWindowBits: 9, ClientMaxWindowBits: 10},
	{ServerMaxWindowBits: 15, ClientMaxWindowBits: 15},
	{ServerNoContextTakeover: true, ClientNoContextTakeover: true, ServerMaxWindowBits: 8, ClientMaxWindowBits: 9},
}

// TestDeflateExamples are those of RFC 7692, section 7.2.3.
func TestDeflateExamples(t *testing.T) {
	for _, v := range []vector{
		{name: "7.2.3.1 one block", in: frame(fin|rsv1|1, "\xf2\x48\xcd\xc9\xc9\x07\x00"), want: "T(Hello)"},
		{
			name: "7.2.3.1 in two fragments",
			in:   frames(frame(rsv1|1, "\xf2\x48\xcd"), frame(fin, "\xc9\xc9\x07\x00")), want: "T(Hello)",
		},
		{
			name: "7.2.3.2 sharing the window",
			in:   frames(frame(fin|rsv1|1, "\xf2\x48\xcd\xc9\xc9\x07\x00"), frame(fin|rsv1|1, "\xf2\x00\x11\x00\x00")),
			want: "T(Hello)T(Hello)",
		},
		{name: "7.2.3.3 not compressed", in: frame(fin|rsv1|1, "\x00\x05\x00\xfa\xffHello\x00"), want: "T(Hello)"},
		{name: "7.2.3.4 final block", in: frame(fin|rsv1|1, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), want: "T(Hello)"},
		{name: "7.2.3.4 final block and no other", in: frame(fin|rsv1|1, "\xf3\x48\xcd\xc9\xc9\x07\x00"), want: "T(Hello)"},
		{
			name: "7.2.3.4 final block within", want: "T(HelloHello)",
			in: frame(fin|rsv1|1, "\xf3\x48\xcd\xc9\xc9\x07\x00"+"\xf2\x00\x11\x00\x00"),
		},
		{
			name: "7.2.3.5 two blocks", want: "T(Hello)",
			in: frame(fin|rsv1|1, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"),
		},
		{name: "7.2.3.6 empty", in: frame(fin|rsv1|1, "\x00"), want: "T()"},
		{
			name: "not all messages compressed", want: "T(Hello)T(x)B(Hello)",
			in: frames(frame(fin|rsv1|1, "\xf2\x48\xcd\xc9\xc9\x07\x00"), text("x"), frame(fin|rsv1|2, "\xf2\x00\x11\x00\x00")),
		},
		{
			name: "a ping within", want: "T( ping(p) Hello)",
			in: frames(frame(rsv1|1, "\xf2\x48\xcd"), pingFrame("p"), frame(fin, "\xc9\xc9\x07\x00")),
		},
		{name: "RSV1 of a continuation", in: frames(frame(rsv1|1, "\xf2\x48\xcd"), frame(fin|rsv1, "\xc9\xc9\x07\x00")), want: "T(!1002"},
		{name: "RSV1 of a ping", in: frame(fin|rsv1|9, ""), want: "!1002"},
		{name: "RSV1 of a close", in: frame(fin|rsv1|8, ""), want: "!1002"},
		{name: "RSV1 and RSV2", in: frame(fin|rsv1|rsv2|1, "\x00"), want: "!1002"},
		{name: "no block", in: frame(fin|rsv1|1, "\xff\xff\xff"), want: "T(!1007"},
		{name: "nothing at all", in: frame(fin|rsv1|1, ""), want: "T(!1007"},
		{name: "cut", in: frame(fin|rsv1|1, "\xf2\x48\xcd"), want: "T(!1007", whole: "T(!1007"},
		{name: "not UTF-8", in: frame(fin|rsv1|1, "\x00\x03\x00\xfc\xffab\xff\x00"), want: "T(ab!1007", whole: "T(!1007"},
		{name: "unfinished UTF-8", in: frame(fin|rsv1|1, "\x00\x03\x00\xfc\xffab\xc3\x00"), want: "T(ab\xc3!1007", whole: "T(!1007"},
		{name: "binary that is not UTF-8", in: frame(fin|rsv1|2, "\x00\x03\x00\xfc\xffab\xff\x00"), want: "B(ab\xff)"},
		{name: "before the window", in: frame(fin|rsv1|1, "\xf2\x00\x11\x00\x00"), want: "T(!1007", whole: "T(!1007"},
	} {
		t.Run(v.name, func(t *testing.T) { v.run(t, Decoder{Deflate: new(DeflateParams)}) })
	}
	t.Run("no takeover", func(t *testing.T) {
		v := vector{
			in:   frames(frame(fin|rsv1|1, "\xf2\x48\xcd\xc9\xc9\x07\x00"), frame(fin|rsv1|1, "\xf2\x00\x11\x00\x00")),
			want: "T(Hello)T(!1007", whole: "T(Hello)T(!1007",
		}
		v.run(t, Decoder{Deflate: &DeflateParams{ClientNoContextTakeover: true}})
	})
}

// TestDeflateRoundTrip is after chapters 12 and 13: messages of all sizes, with all that
// can be agreed upon, in both directions.
func TestDeflateRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	words := strings.Fields("the quick brown fox jumps over a lazy dog and {\"id\":12345678,\"name\":\"κόσμε\"} again and again")
	message := func(size int) string {
		var b strings.Builder
		for b.Len() < size {
			b.WriteString(words[rnd.IntN(len(words))])
		}
		return b.String()
	}
	noise := func(size int) string {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return string(b)
	}
	for i, p := range both {
		for _, client := range []bool{false, true} {
			t.Run(fmt.Sprintf("13.%d client %v", i+1, client), func(t *testing.T) {
				e := Encoder{Client: client, Deflate: &p, Threshold: 1}
				var wire []byte
				var want strings.Builder
				sent := 0
				for _, size := range []int{0, 1, 16, 64, 100, 256, 1024, 4096, 8192, 300, 300, 16384, 32768, 65536, 131072, 500} {
					if race.Enabled && size > 9000 {
						continue
					}
					for range 3 {
						s := message(size)
						wire = e.Message(wire, Text, []byte(s))
						n := noise(size)
						wire = e.Message(wire, Binary, []byte(n))
						e.Begin(Text, true)
						for _, c := range chunks(s, 1+size/3) {
							wire = e.Data(wire, []byte(c))
							wire = e.Ping(wire, nil)
						}
						wire = e.End(wire)
						e.Begin(Binary, true) // which makes it longer
						wire = e.Data(wire, []byte(n))
						wire = e.End(wire)
						sent += 2*len(s) + 2*len(n)
						fmt.Fprintf(&want, "T(%s)B(%s)T(%s)B(%s)", s, n, s, n)
					}
				}
				for _, whole := range []bool{false, true} {
					for name, c := range map[string]cut{"uncut": uncut, "997": chops(997), "random": random(rnd)} {
						got := decode(t, Decoder{Client: !client, Deflate: &p, Whole: whole}, wire, c)
						if got = strings.ReplaceAll(got, " ping() ", ""); got != want.String() {
							t.Errorf("%s: %d bytes came out, %d expected", name, len(got), want.Len())
						}
					}
				}
				if len(wire) > sent*3/4 {
					t.Errorf("%d bytes of %d were sent", len(wire), sent)
				}
				if bits := p.windowOf(!client); len(e.window) != 1<<bits && bits > 0 || bits == 0 && e.window != nil {
					t.Errorf("%d bytes kept with %d bits", len(e.window), bits)
				}
			})
		}
	}
}

// TestTakeoverIsSmaller: that messages refer to earlier ones is worth something.
func TestTakeoverIsSmaller(t *testing.T) {
	size := func(p DeflateParams) int {
		e := Encoder{Deflate: &p, Threshold: 128}
		rnd := rand.New(rand.NewPCG(5, 6))
		n := 0
		for i := range 50 {
			n += len(e.Message(nil, Text, fmt.Appendf(nil,
				`{"sequence":%d,"kind":"ORDER_STATE_CHANGED","customer":{"id":"%d","country":"DE","segment":"wholesale"},"amount":%v}`,
				i, rnd.Uint32(), rnd.Float64())))
		}
		return n
	}
	with, without := size(DeflateParams{ServerMaxWindowBits: 12}), size(DeflateParams{ServerNoContextTakeover: true})
	if with*2 > without {
		t.Errorf("%d bytes with, %d without", with, without)
	}
}

// bomb compresses n zeros.
func bomb(n int) string {
	var b strings.Builder
	w, _ := flate.NewWriter(&b, flate.BestSpeed)
	w.Write(make([]byte, n))
	w.Flush()
	return strings.TrimSuffix(b.String(), flushed)
}

func TestBombs(t *testing.T) {
	p := &DeflateParams{ServerNoContextTakeover: true, ClientNoContextTakeover: true}
	five := bomb(5 << 20)
	for _, test := range []struct {
		name string
		d    Decoder
		in   []byte
		end  string
	}{
		{"at the limit", Decoder{Deflate: p, MaxMessage: 1000}, frame(fin|rsv1|2, bomb(1000)), ")"},
		{"above the limit", Decoder{Deflate: p, MaxMessage: 1000}, frame(fin|rsv1|2, bomb(1001)), "!1009"},
		{"small, whatever its ratio", Decoder{Deflate: p}, frame(fin|rsv1|2, bomb(1<<20)), ")"},
		{"ratio", Decoder{Deflate: p}, frame(fin|rsv1|2, bomb(1<<20+1)), "!1008"},
		{"a ratio that is allowed", Decoder{Deflate: p, MaxRatio: 2000}, frame(fin|rsv1|2, bomb(4<<20)), ")"},
		{"default limit", Decoder{Deflate: p, MaxRatio: 2000}, frame(fin|rsv1|2, bomb(4<<20+1)), "!1009"},
		{"in fragments", Decoder{Deflate: p}, frames(frame(rsv1|2, five[:1000]), frame(fin, five[1000:])), "!1008"},
		{"compressed form above the limit", Decoder{Deflate: p, MaxMessage: 1000}, frame(rsv1|2, strings.Repeat("\x00\x00\x00\xff\xff", 201)), "B(!1009"},
		{"final blocks", Decoder{Deflate: p}, frame(fin|rsv1|2, strings.Repeat("\x03\x00", 1000)), "B()"},
		{"blocks with codes and no content", Decoder{Deflate: p}, frame(fin|rsv1|2, string(emptyBlocks(1000))), "B(!1008"},
		{"a few of them", Decoder{Deflate: p}, frame(fin|rsv1|2, string(emptyBlocks(20))), "B()"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, test.d.Whole = range []bool{false, true} {
				if got := decode(t, test.d, test.in, uncut); !strings.HasSuffix(got, test.end) {
					t.Errorf("got %.20q … %q", got, got[max(0, len(got)-20):])
				}
			}
		})
	}
}
