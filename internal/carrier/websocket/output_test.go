package websocket

import (
	"testing"

	"github.com/sluice-rpc/sluice/internal/wire/duplex"
	wire "github.com/sluice-rpc/sluice/internal/wire/websocket"
	"github.com/sluice-rpc/sluice/rpc"
)

// TestBufferReuse: a buffer that held all that a pipe gives at once is used again, one that held a large message is not.
func TestBufferReuse(t *testing.T) {
	for _, tc := range []struct {
		bytes  int
		reused bool
	}{{rpc.WindowDefault + duplex.MaxData, true}, {1 << 20, false}} {
		var e wire.Encoder
		b := &buffer{e.Message(nil, wire.Binary, make([]byte, tc.bytes))}
		b.free()
		if got := cap(b.b) > 0; got != tc.reused {
			t.Errorf("%d bytes: used again: %v", tc.bytes, got)
		}
	}
}
