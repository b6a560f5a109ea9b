package connect

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"

	wire "github.com/sluice-rpc/sluice/internal/wire/connect"
)

// An ending is the JSON of an end-stream envelope.
type ending struct {
	Error    *connectError       `json:"error"`
	Metadata map[string][]string `json:"metadata"`
}

// readStream cuts a response into its messages, with their prefixes, and its end,
// which is there exactly once, and last.
func readStream(t testing.TB, b []byte) (msgs []string, end ending) {
	t.Helper()
	for len(b) >= 5 {
		n := int(binary.BigEndian.Uint32(b[1:5]))
		if len(b) < 5+n {
			break
		}
		if b[0]&wire.EndStream == 0 {
			msgs = append(msgs, string(b[:5+n]))
			b = b[5+n:]
			continue
		}
		d := json.NewDecoder(strings.NewReader(string(b[5 : 5+n])))
		d.DisallowUnknownFields()
		if b[0] != wire.EndStream || d.Decode(&end) != nil || strings.Contains(string(b[5:5+n]), "null") {
			t.Fatalf("the end %q", b)
		}
		if len(b) != 5+n {
			t.Fatalf("%q after the end", b[5+n:])
		}
		return msgs, end
	}
	t.Fatalf("no end, but %q", b)
	return nil, end
}
