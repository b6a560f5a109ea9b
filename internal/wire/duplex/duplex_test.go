package duplex

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/race"
)

// recorder writes down what a decoder says, with DATA joined.
type recorder struct {
	out    []string
	data   []byte
	call   uint32
	failAt Kind
}

func (r *recorder) Data(call uint32, b []byte) error {
	if call != r.call {
		r.flush()
	}
	r.call = call
	r.data = append(r.data, b...)
	return nil
}

func (r *recorder) flush() {
	if len(r.data) > 0 {
		r.out = append(r.out, fmt.Sprintf("%d DATA %q", r.call, r.data))
	}
	r.data = nil
}

func (r *recorder) Frame(kind Kind, call uint32, payload []byte) error {
	r.flush()
	r.out = append(r.out, fmt.Sprintf("%d %v %q", call, kind, payload))
	if kind == r.failAt {
		return errors.New("enough")
	}
	return nil
}

func decode(form Form, pieces ...[]byte) (string, error) {
	d, r := Decoder{Form: form}, recorder{}
	for _, p := range pieces {
		if err := d.Feed(p, &r); err != nil {
			r.flush()
			return strings.Join(r.out, "\n"), err
		}
	}
	r.flush()
	return strings.Join(r.out, "\n"), nil
}

func TestDecoder(t *testing.T) {
	mux := func(f func(b []byte) []byte) []byte { return f(nil) }
	for _, tt := range []struct {
		name string
		form Form
		in   []byte
		want string
		err  string
	}{
		{"a call", MuxForm, mux(func(b []byte) []byte {
			b = MuxForm.Append(b, Hello, 0, []byte("a: b\r\n"))
			b = MuxForm.Append(b, Headers, 1, []byte(":path: /x/Y\r\n"))
			b = MuxForm.Append(b, Data, 1, []byte("abc"))
			return MuxForm.Append(b, End, 1, nil)
		}), `0 HELLO "a: b\r\n"` + "\n" + `1 HEADERS ":path: /x/Y\r\n"` + "\n" + `1 DATA "abc"` + "\n" + `1 END ""`, ""},
		{"call form", CallForm, CallForm.Append(CallForm.Append(nil, Data, 0, []byte("x")), Cancel, 0, nil), `0 DATA "x"` + "\n" + `0 CANCEL ""`, ""},
		{"unknown kinds", MuxForm, MuxForm.Append(MuxForm.Append(MuxForm.Append(nil, 0x44, 3, []byte("??")), 0x45, 0, nil), Ping, 0, make([]byte, 8)),
			`0 PING "\x00\x00\x00\x00\x00\x00\x00\x00"`, ""},
		{"too long", MuxForm, []byte{0x44, 1, 0, 1, 0, 0, 0, 1}, "", "at most 65536"},
		{"DATA too long", MuxForm, []byte{2, 0, 0x40, 1, 0, 0, 0, 1}, "", "DATA of 16385 bytes"},
		{"empty DATA", CallForm, []byte{2, 0, 0, 0}, "", "DATA of 0 bytes"},
		{"a call's frame without a call", MuxForm, []byte{1, 0, 0, 0, 0, 0, 0, 0}, "", "HEADERS with call number 0"},
		{"a connection's frame with a call", MuxForm, []byte{0x12, 0, 0, 0, 0, 0, 0, 9}, "", "PING with call number 9"},
	} {
		got, err := decode(tt.form, tt.in)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: got %s, %v; want %s, %s", tt.name, got, err, tt.want, tt.err)
		}
	}
}

// FuzzDecoder cuts input in two places, which changes nothing.
func FuzzDecoder(f *testing.F) {
	whole := MuxForm.Append(nil, Headers, 1, []byte(":path: /x/Y\r\n"))
	whole = MuxForm.AppendCredit(MuxForm.Append(whole, Data, 1, []byte("abc")), 1, CreditFrame{7, 9, GotEnd})
	f.Add(true, whole, uint(3), uint(20))
	f.Add(false, []byte{2, 0, 0, 1, 9, 5, 0, 0, 0}, uint(1), uint(1))
	f.Fuzz(func(t *testing.T, mux bool, b []byte, i, j uint) {
		want, wantErr := decode(Form(mux), b)
		i %= uint(len(b) + 1)
		j = i + j%uint(len(b)-int(i)+1)
		got, err := decode(Form(mux), b[:i], b[i:j], b[j:])
		if got != want || (err == nil) != (wantErr == nil) {
			t.Fatalf("whole: %s, %v\ncut at %d and %d: %s, %v", want, wantErr, i, j, got, err)
		}
	})
}

func TestCredit(t *testing.T) {
	want := CreditFrame{Taken: 1 << 40, Window: 1 << 20, Got: GotHeaders}
	b := CallForm.AppendCredit(nil, 0, want)
	if got, err := ParseCredit(b[4:]); got != want || err != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range [][]byte{nil, b[4:16], append(b[4:16:16], 3)} {
		if _, err := ParseCredit(bad); err == nil {
			t.Errorf("%x is taken", bad)
		}
	}
}

func TestSenderForgets(t *testing.T) {
	var s Sender
	s.Write(make([]byte, 100))
	if n := len(s.Next(60)); n != 60 || s.Buffered() != 40 || !s.Pending() {
		t.Errorf("sent %d, kept %d", n, s.Buffered())
	}
	if _, err := s.Credit(61, 10); err == nil {
		t.Error("CREDIT for what was not sent is taken")
	}
	if n, err := s.Credit(60, 65536); n != 60 || err != nil {
		t.Errorf("taken %d, %v", n, err)
	}
	if err := s.Rewind(59); !errors.Is(err, ErrLost) {
		t.Errorf("rewound to what was forgotten: %v", err)
	}
}

func TestSenderKeeps(t *testing.T) {
	s := Sender{Keep: true}
	text := bytes.Repeat([]byte("0123456789"), 20_000)
	s.Write(text)
	n := 0
	for s.Pending() {
		n += len(s.Next(1 << 20))
	}
	if n != Window {
		t.Fatalf("sent %d without credit", n)
	}
	if n, err := s.Credit(1000, 10); n != 1000 || err != nil || s.Pending() { // the limit must not shrink
		t.Errorf("taken %d, %v", n, err)
	}
	if err := s.Rewind(1003); err != nil {
		t.Fatal(err)
	}
	if b := s.Next(4); string(b) != "3456" {
		t.Errorf("goes on with %q", b)
	}
	if err := s.Rewind(999); !errors.Is(err, ErrLost) {
		t.Errorf("rewound to what was taken: %v", err)
	}
	if err := s.Rewind(Window + 1); !errors.Is(err, ErrLost) {
		t.Errorf("went on from what was not sent: %v", err)
	}
}

// TestSendersShare: what one has emptied another may write into, but not while what Next
// returned is valid.
func TestSendersShare(t *testing.T) {
	var one, other Sender
	one.Write(bytes.Repeat([]byte("1"), 3*chunkSize+7))
	for one.Pending() {
		b := one.Next(chunkSize)
		other.Write(bytes.Repeat([]byte("2"), 2*chunkSize))
		if i := bytes.IndexByte(b, '2'); i >= 0 {
			t.Fatalf("byte %d of %d was overwritten", i, len(b))
		}
		other.Free()
	}
}

// TestAllocations: a long stream of one call is not the collector's concern.
func TestAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector drops from pools at random")
	}
	var s Sender
	b := make([]byte, 3*chunkSize/2)
	if _, err := s.Credit(0, 1<<31); err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(100, func() {
		s.Write(b)
		for s.Pending() {
			s.Next(chunkSize - 9)
		}
		s.Idle()
	})
	if n > 0.5 {
		t.Errorf("%v allocations", n)
	}
}

// TestFixedLength refuses what has another length by the head alone.
func TestFixedLength(t *testing.T) {
	for kind, want := range map[Kind]int{Cancel: 0, Credit: 13, Ping: 8, Pong: 8} {
		for _, n := range []int{want - 1, want, want + 1, MaxFrame} {
			if n < 0 {
				continue
			}
			d := Decoder{}
			err := d.Feed([]byte{byte(kind), byte(n >> 16), byte(n >> 8), byte(n)}, nopEvents{})
			if (err == nil) != (n == want) {
				t.Errorf("%v of %d bytes: %v", kind, n, err)
			}
		}
	}
}

type nopEvents struct{}

func (nopEvents) Data(uint32, []byte) error        { return nil }
func (nopEvents) Frame(Kind, uint32, []byte) error { return nil }

func TestReceiver(t *testing.T) {
	var r Receiver
	if b, err := r.Receive(make([]byte, Window)); len(b) != Window || err != nil {
		t.Fatalf("received %d, %v", len(b), err)
	}
	if _, err := r.Receive([]byte{1}); !errors.Is(err, ErrNoCredit) {
		t.Errorf("beyond the window: %v", err)
	}
	if r.Take(Window/2-1) || !r.Owes() || !r.Take(1) {
		t.Error("a CREDIT is due at half a window")
	}
	if c := r.Credit(GotHeaders); c.Taken != Window/2 || c.Window != Window || r.Owes() {
		t.Errorf("credit %+v", c)
	}
	r.Repeat(Window - 3)
	if b, err := r.Receive([]byte("abcdef")); string(b) != "def" || err != nil || r.Received() != Window+3 {
		t.Errorf("received %q, %v, up to %d", b, err, r.Received())
	}
}

// TestLargeWindow is told of in time: the first window is as small as any.
func TestLargeWindow(t *testing.T) {
	r := Receiver{Window: 1 << 20}
	if !r.Take(Window / 2) {
		t.Error("no CREDIT at half of the first window")
	}
	if c := r.Credit(GotHeaders); c.Window != 1<<20 || r.Take(1<<19-1) || !r.Take(1) {
		t.Errorf("credit %+v, and the next one is not due at half of it", c)
	}
}

// TestDirections sends at random with cuts, and nothing is lost, doubled or reordered.
func TestDirections(t *testing.T) {
	for seed := range map[bool]uint64{false: 200, true: 50}[race.Enabled] {
		rnd := rand.New(rand.NewPCG(seed, 0))
		text := make([]byte, 300_000)
		for i := range text {
			text[i] = byte(rnd.Uint32())
		}
		s, r := Sender{Keep: true}, Receiver{Window: 1 + rnd.Uint32N(100_000)}
		var got, wire []byte
		written, reassembly := 0, 0
		for len(got) < len(text) {
			switch rnd.IntN(12) {
			case 0, 1, 2:
				n := min(rnd.IntN(30_000), len(text)-written)
				if s.Buffered() < 200_000 {
					s.Write(text[written : written+n])
					written += n
				}
			case 3, 4, 5:
				wire = append(wire, s.Next(1+rnd.IntN(MaxData))...)
			case 6, 7, 8:
				n := rnd.IntN(len(wire) + 1)
				b, err := r.Receive(wire[:n])
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				wire = wire[n:]
				got = append(got, b...)
				reassembly += len(b)
			case 9, 10:
				n := rnd.IntN(reassembly + 1)
				reassembly -= n
				if r.Take(n) || rnd.IntN(4) == 0 {
					c := r.Credit(GotNothing)
					if _, err := s.Credit(c.Taken, c.Window); err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
				}
			case 11: // a cut
				wire = nil
				from := uint64(0)
				if rnd.IntN(2) == 0 || s.taken > 0 {
					from = r.Received()
				}
				if err := s.Rewind(from); err != nil && from > 0 {
					t.Fatalf("seed %d: %v", seed, err)
				} else if err == nil {
					r.Repeat(from)
				}
				c := r.Credit(GotNothing)
				if _, err := s.Credit(c.Taken, c.Window); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		}
		if !bytes.Equal(got, text) {
			t.Fatalf("seed %d: the bytes differ", seed)
		}
	}
}
