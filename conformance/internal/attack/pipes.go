package attack

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Kinds of frames of docs/protocols/duplex.md.
const (
	headersFrame = 0x01
	dataFrame    = 0x02
	endFrame     = 0x03
	creditFrame  = 0x04
	resumeFrame  = 0x06
	pingFrame    = 0x12
)

// pipeFrame is a frame of the multiplexed form.
func pipeFrame(kind byte, call int, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(kind)<<24|uint32(len(payload)))
	return append(binary.BigEndian.AppendUint32(b, uint32(call)), payload...)
}

// write sends a frame as a message.
func (s *socket) write(kind byte, call int, payload string) {
	s.frame(fin|binaryOp, pipeFrame(kind, call, []byte(payload)))
}

// id is what names a session or a call.
func id() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// allCredit lets a call send as much as there is.
var allCredit = string(append(binary.BigEndian.AppendUint32(make([]byte, 8), math.MaxInt32), 1))

// request writes a request's head to the endpoint of pipes and returns its stream.
func (c *conn) request(verb string, end bool, fields ...string) uint32 {
	c.block.Reset()
	fields = append([]string{":method", verb, ":scheme", "http", ":authority", "localhost", ":path", pipes}, fields...)
	for i := 0; i < len(fields); i += 2 {
		_ = c.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	stream := c.next
	c.next += 2
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.block.Bytes(), EndHeaders: true, EndStream: end})
	return stream
}

// pipesAttacks are attacks on pipes: by HTTP duplex, and by their own frames on WebSockets.
func pipesAttacks() []Attack {
	pipe := socketOptions{path: pipes, protocol: "sluice.v1"}
	deaf := pipe
	deaf.deaf = true
	return []Attack{
		{"duplex, foreign origin", "a page of another origin opens one session after the other", 4, waits,
			h2(options{}, repeat(func(c *conn, _ int) error {
				c.request("GET", true, "sluice-session", id(), "sluice-offset", "0", "origin", "https://evil.example")
				return c.step(1)
			}))},
		{"duplex, half-open", "opens 250 sessions, and says nothing on them", 8, waits,
			h2(options{}, func(c *conn) error {
				for range manyCall {
					c.request("GET", true, "sluice-session", id(), "sluice-offset", "0")
					if err := c.step(1); err != nil {
						return err
					}
				}
				return c.hold()
			})},
		{"duplex, abandoned polls", "opens sessions by a long poll each, and never comes back to them", 4, waits,
			h2(options{}, repeat(func(c *conn, _ int) error {
				c.request("GET", true, "sluice-session", id(), "sluice-offset", "0", "sluice-poll", "1")
				return c.step(1)
			}))},
		{"duplex, guesses", "uploads to sessions that there are not", 4, waits,
			h2(options{}, repeat(func(c *conn, _ int) error {
				stream := c.request("POST", false, "sluice-session", id(), "sluice-offset", "0")
				_ = c.WriteData(stream, true, pipeFrame(pingFrame, 0, zeros[:8]))
				return c.step(2)
			}))},
		{"duplex, upload gaps", "60 sessions with three uploads of 60 KB each, all beyond a byte that never comes", 8, waits,
			h2(options{settings: allWindow}, func(c *conn) error {
				const size, piece = 60000, 12000
				var sessions []string
				for range 60 {
					sessions = append(sessions, id())
					c.request("GET", true, "sluice-session", sessions[len(sessions)-1], "sluice-offset", "0")
				}
				if err := c.flush(); err != nil {
					return err
				}
				sleep(c.ctx, 50*time.Millisecond) // until they are open
				for _, session := range sessions {
					for i := range 3 {
						stream := c.request("POST", false, "sluice-session", session, "sluice-offset", fmt.Sprint(1+i*size))
						for range size / piece {
							for c.window.Load() < piece {
								if err := c.flush(); err != nil {
									return err
								}
								sleep(c.ctx, 5*time.Millisecond)
							}
							c.window.Add(-piece)
							_ = c.WriteData(stream, false, zeros[:piece])
							if err := c.step(1); err != nil {
								return err
							}
						}
					}
				}
				return c.hold()
			})},
		{"pipe, PING frames", "PING frames on a pipe, the answers are read", 4, waits,
			ws(pipe, func(s *socket) error { return s.again(func(int) { s.write(pingFrame, 0, "12345678") }) })},
		{"pipe, PING frames, deaf", "PING frames on a pipe, the answers are not read", 4, waits,
			ws(deaf, func(s *socket) error { return s.again(func(int) { s.write(pingFrame, 0, "12345678") }) })},
		{"pipe, reader that stops", "100 downloads of 64 MB on a pipe, with all the credit there is, and reads nothing", 8, waits,
			ws(deaf, func(s *socket) error {
				request := string(prefixed(download(1000, 64<<10)))
				for i := range 100 {
					s.write(headersFrame, i+1, ":path: "+stream+"\r\n")
					s.write(creditFrame, i+1, allCredit)
					s.write(dataFrame, i+1, request)
					s.write(endFrame, i+1, "")
					if err := s.step(4); err != nil {
						return err
					}
				}
				return s.hold()
			})},
		{"pipe, cancelled calls", "opens calls on a pipe and cancels them at once", 4, waits,
			ws(pipe, func(s *socket) error {
				return s.again(func(i int) {
					s.write(headersFrame, i+1, ":path: "+duplex+"\r\n")
					s.write(0x05, i+1, "")
				})
			})},
		{"pipe, too many calls", "opens calls on a pipe and ends none, far above the limit", 4, waits,
			ws(pipe, func(s *socket) error {
				return s.again(func(i int) { s.write(headersFrame, i+1, ":path: "+duplex+"\r\n") })
			})},
		{"pipe, forged tickets", "RESUME with tickets that nobody has sealed", 4, waits,
			ws(pipe, func(s *socket) error {
				return s.again(func(i int) {
					s.write(resumeFrame, i+1, ":call: "+id()+"\r\n:ticket: "+strings.Repeat(id(), 3)+"\r\n:epoch: 2\r\n:got: 0\r\n:received: 0\r\n")
				})
			})},
	}
}
