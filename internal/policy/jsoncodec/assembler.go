package jsoncodec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"github.com/sluice-rpc/sluice/internal/compress"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/internal/transcode"
	"github.com/sluice-rpc/sluice/internal/wire/envelope"
	"github.com/sluice-rpc/sluice/internal/wire/ledger"
	"github.com/sluice-rpc/sluice/rpc"
)

// An assembler makes whole messages of one direction of a call.
type assembler struct {
	h        *handler
	encoding string // of messages whose prefix says that they are compressed
	ledger   ledger.Ledger

	waits   atomic.Int64 // bytes that were sent on and not taken; charged
	buf     []byte       // a message that is not whole, with its prefix; charged
	scratch []byte       // a message as it is sent on
	count   int          // messages that were whole
}

func (a *assembler) init(h *handler, encoding string) { a.h, a.encoding = h, encoding }

// keepScratch is how large a buffer may be that waits for the next message.
const keepScratch = 16 << 10

var (
	errTooLarge = errors.New("larger than the limit")
	errFlags    = errors.New("its prefix has unknown flags")
)

// take calls f with each message that b completes, decompressed, and keeps the rest. All
// of b is in the ledger before the first of them is sent on.
func (a *assembler) take(b []byte, f func(message []byte) error) error {
	a.ledger.Keep(len(b))
	kept := len(a.buf) > 0
	if kept {
		if err := a.keep(b); err != nil {
			return err
		}
		b = a.buf
	}
	for len(b) >= envelope.PrefixLen {
		n := int64(binary.BigEndian.Uint32(b[1:]))
		if n > int64(a.h.o.MaxMessage) {
			a.count++
			return fmt.Errorf("%d bytes: %w", n, errTooLarge)
		}
		end := envelope.PrefixLen + int(n)
		if len(b) < end {
			break
		}
		message, err := a.plain(b[0], b[envelope.PrefixLen:end])
		a.count++
		if err == nil {
			err = f(message)
		}
		if err != nil {
			return err
		}
		b = b[end:]
	}
	if !kept {
		return a.keep(b)
	}
	a.shorten(b)
	return nil
}

// plain returns a message that is not compressed.
func (a *assembler) plain(flags byte, message []byte) ([]byte, error) {
	switch {
	case flags&^envelope.Compressed != 0:
		return nil, errFlags
	case flags == 0 || len(message) == 0: // no bytes are never compressed
		return message, nil
	}
	return compress.Decompress(a.encoding, message, a.h.o.MaxMessage, a.h.o.Ratio)
}

// status is how a call ends with an error in a message: with code if it is the message's.
func (a *assembler) status(err error, code rpc.Code, direction string) rpc.Status {
	what := direction + " message"
	if a.count > 1 {
		what += fmt.Sprintf(" %d", a.count)
	}
	switch {
	case errors.Is(err, exchange.ErrBuffers):
		return rpc.Status{Code: rpc.ResourceExhausted, Message: err.Error()}
	case errors.Is(err, errTooLarge) || errors.Is(err, compress.ErrTooLarge) || errors.Is(err, transcode.ErrTooLarge):
		return rpc.Errorf(rpc.ResourceExhausted, "%s: %v of %d bytes (limits.message_bytes)", what, err, a.h.o.MaxMessage)
	}
	return rpc.Errorf(code, "%s: %v", what, err)
}

// begin returns where a message is written that is about as long as n bytes, after the
// place for its prefix.
func (a *assembler) begin(n int) []byte {
	if a.scratch == nil {
		return make([]byte, envelope.PrefixLen, envelope.PrefixLen+n)
	}
	return a.scratch[:envelope.PrefixLen]
}

// end notes a message that was written, with its prefix, before the credit for it can
// come. It is charged until it is taken: its input was credited on receipt, or is a bomb
// that fits into a window, so that nothing else bounds what waits.
func (a *assembler) end(out []byte) ([]byte, error) {
	if !a.h.o.Reserve(len(out)) {
		return nil, exchange.ErrBuffers
	}
	a.waits.Add(int64(len(out)))
	envelope.Append(out[:0], 0, len(out)-envelope.PrefixLen)
	a.ledger.Put(0, len(out))
	if cap(out) <= keepScratch {
		a.scratch = out
	}
	return out, nil
}

// credit says how many bytes that came are taken now that n more of those that were sent
// on are.
func (a *assembler) credit(n int) int {
	a.settle(int64(n))
	return a.ledger.Credit(n)
}

// settle gives back what was charged for n bytes that waited.
func (a *assembler) settle(n int64) {
	for {
		w := a.waits.Load()
		taken := min(n, w)
		if a.waits.CompareAndSwap(w, w-taken) {
			if taken > 0 {
				a.h.o.Reserve(-int(taken))
			}
			return
		}
	}
}

// keep keeps a piece of a message.
func (a *assembler) keep(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if !a.h.o.Reserve(len(b)) {
		return exchange.ErrBuffers
	}
	a.buf = append(a.buf, b...)
	return nil
}

// shorten leaves only the last bytes of what was kept.
func (a *assembler) shorten(rest []byte) {
	if len(rest) == len(a.buf) {
		return
	}
	a.h.o.Reserve(len(rest) - len(a.buf))
	if cap(a.buf) > keepScratch && len(rest) < keepScratch {
		a.buf = append([]byte(nil), rest...)
		return
	}
	a.buf = append(a.buf[:0], rest...)
}

// drop lets go of what is kept.
func (a *assembler) drop() {
	if len(a.buf) > 0 {
		a.h.o.Reserve(-len(a.buf))
	}
	a.buf, a.scratch = nil, nil
}

// free ends the direction. It returns how many bytes of it nobody was credited for.
func (a *assembler) free() int {
	a.drop()
	return a.ledger.Rest()
}

// done is for the end of the call, when nothing waits any more.
func (a *assembler) done() {
	a.drop()
	a.settle(math.MaxInt64)
}
