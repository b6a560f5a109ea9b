package duplex

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/wire/fields"
)

// vectors are those of docs/protocols/duplex.md.
type vectors struct {
	Frames []struct {
		Name, Form, Bytes, Error string
		Frames                   []vectorFrame
	}
	Fields []struct {
		Name, Text, Error string
		Fields            [][2]string
	}
}

type vectorFrame struct {
	Kind    string
	Call    uint32
	Payload string
	Credit  *struct {
		Taken  uint64
		Window uint32
		Got    Mark
	}
}

// vectorEvents collects frames, with DATA frames as they were cut on the wire: vectors are
// fed whole.
type vectorEvents []vectorFrame

func (v *vectorEvents) Data(call uint32, b []byte) error { return v.Frame(Data, call, b) }

func (v *vectorEvents) Frame(kind Kind, call uint32, payload []byte) error {
	*v = append(*v, vectorFrame{Kind: kind.String(), Call: call, Payload: hex.EncodeToString(payload)})
	return nil
}

func TestVectors(t *testing.T) {
	b, err := os.ReadFile("../../../testdata/duplex.json")
	if err != nil {
		t.Fatal(err)
	}
	var all vectors
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]Kind{}
	for k, name := range kindNames {
		kinds[name] = k
	}
	seen := map[string]bool{}
	for _, v := range all.Frames {
		form := Form(v.Form == "multiplexed")
		in, err := hex.DecodeString(strings.ReplaceAll(v.Bytes, " ", ""))
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		d := Decoder{Form: form}
		var got vectorEvents
		err = d.Feed(in, &got)
		if (err != nil) != (v.Error != "") || len(got) != len(v.Frames) {
			t.Errorf("%s: %d frames, %v; want %d, %q", v.Name, len(got), err, len(v.Frames), v.Error)
			continue
		}
		var out []byte
		for i, want := range v.Frames {
			seen[want.Kind] = true
			if c := want.Credit; c != nil {
				b := form.AppendCredit(nil, want.Call, CreditFrame{c.Taken, c.Window, c.Got})
				want.Payload = hex.EncodeToString(b[form.header():])
				payload, _ := hex.DecodeString(got[i].Payload)
				if read, err := ParseCredit(payload); err != nil || read != (CreditFrame{c.Taken, c.Window, c.Got}) {
					t.Errorf("%s: credit %+v, %v", v.Name, read, err)
				}
			}
			want.Credit = nil
			if got[i] != want {
				t.Errorf("%s: frame %d is %+v, want %+v", v.Name, i, got[i], want)
			}
			payload, _ := hex.DecodeString(want.Payload)
			out = form.Append(out, kinds[want.Kind], want.Call, payload)
		}
		if !strings.Contains(v.Name, "skipped") && v.Error == "" && string(out) != string(in) {
			t.Errorf("%s: written as %x", v.Name, out)
		}
	}
	for _, name := range kindNames {
		if !seen[name] {
			t.Errorf("there is no vector of %s", name)
		}
	}
	for _, v := range all.Fields {
		got, err := fields.Parse(nil, []byte(v.Text), 16<<10)
		if (err != nil) != (v.Error != "") {
			t.Errorf("%s: %v", v.Name, err)
		}
		if v.Error != "" {
			continue
		}
		var list []exchange.Field
		for _, f := range v.Fields {
			list = append(list, exchange.Field{Name: f[0], Value: f[1]})
		}
		if g, w := string(fields.Append(nil, got)), string(fields.Append(nil, list)); g != w {
			t.Errorf("%s: got %q, want %q", v.Name, g, w)
		}
	}
}
