package sluice_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/sluice-rpc/sluice"

	"github.com/sluice-rpc/sluice/internal/race"
)

// maxAllocs bounds the allocations of a unary call that passes through, with twelve
// fields, a deadline, metrics and the access log. docs/benchmarks.md tells the number.
const maxAllocs = 12

// TestAllocations counts them, with a client and a backend that allocate nothing.
func TestAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	addr, _ := startGateway(t, sluice.Config{
		Backends: []sluice.Backend{{Target: cannedBackend(t)}}, DescriptorSets: [][]byte{testDescriptors(t)}, AccessLog: io.Discard,
	})
	c := dialCanned(t, addr)
	defer c.nc.Close()

	const warm, calls = 500, 5000
	for range warm {
		c.call(t)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range calls {
		c.call(t)
	}
	runtime.ReadMemStats(&after)
	n := float64(after.Mallocs-before.Mallocs) / calls
	t.Logf("%.1f allocations, %.0f bytes a call", n, float64(after.TotalAlloc-before.TotalAlloc)/calls)
	if n > maxAllocs {
		t.Errorf("%.1f allocations a call, at most %d are expected", n, maxAllocs)
	}
}

func testDescriptors(t *testing.T) []byte {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(testpb.File_grpc_testing_empty_proto),
		protodesc.ToFileDescriptorProto(testpb.File_grpc_testing_messages_proto),
		protodesc.ToFileDescriptorProto(testpb.File_grpc_testing_test_proto),
	}}
	b, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A canned is one end of an HTTP/2 connection that sends what was put together before.
type canned struct {
	nc   net.Conn
	br   *bufio.Reader
	head [9]byte
	body [1 << 14]byte
	out  []byte
	ids  []int // where stream ids stand in out
	id   uint32
}

func newCanned(nc net.Conn) *canned { return &canned{nc: nc, br: bufio.NewReader(nc)} }

func block(fields ...string) []byte {
	var w writer
	e := hpack.NewEncoder(&w)
	e.SetMaxDynamicTableSize(0)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return w
}

type writer []byte

func (w *writer) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}

func (c *canned) frame(t http2.FrameType, f http2.Flags, payload []byte) {
	n := len(payload)
	c.ids = append(c.ids, len(c.out)+5)
	c.out = append(c.out, byte(n>>16), byte(n>>8), byte(n), byte(t), byte(f), 0, 0, 0, 0)
	c.out = append(c.out, payload...)
}

// send writes what was put together, on a stream.
func (c *canned) send(id uint32) error {
	for _, at := range c.ids {
		binary.BigEndian.PutUint32(c.out[at:], id)
	}
	_, err := c.nc.Write(c.out)
	return err
}

// next reads frames until one ends a stream.
func (c *canned) next() (uint32, error) {
	for {
		if _, err := io.ReadFull(c.br, c.head[:]); err != nil {
			return 0, err
		}
		n := int(c.head[0])<<16 | int(c.head[1])<<8 | int(c.head[2])
		if _, err := io.ReadFull(c.br, c.body[:n]); err != nil {
			return 0, err
		}
		typ, flags := http2.FrameType(c.head[3]), http2.Flags(c.head[4])
		switch {
		case typ == http2.FrameSettings && flags&http2.FlagSettingsAck == 0:
			if _, err := c.nc.Write([]byte{0, 0, 0, byte(http2.FrameSettings), byte(http2.FlagSettingsAck), 0, 0, 0, 0}); err != nil {
				return 0, err
			}
		case (typ == http2.FrameData || typ == http2.FrameHeaders) && flags&http2.FlagDataEndStream != 0:
			return binary.BigEndian.Uint32(c.head[5:]), nil
		}
	}
}

// cannedBackend answers every call with an empty message and OK.
func cannedBackend(t *testing.T) string {
	t.Helper()
	l := listen(t)
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends with the listener
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = nc.Close() })
			go answer(nc) // ends with the connection
		}
	}()
	return l.Addr().String()
}

func answer(nc net.Conn) {
	c := newCanned(nc)
	if _, err := nc.Write([]byte{0, 0, 0, byte(http2.FrameSettings), 0, 0, 0, 0, 0}); err != nil {
		return
	}
	if _, err := io.ReadFull(c.br, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	c.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, block(":status", "200", "content-type", "application/grpc"))
	c.frame(http2.FrameData, 0, make([]byte, 5))
	c.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, block("grpc-status", "0", "grpc-message", ""))
	for {
		id, err := c.next()
		if err == nil {
			err = c.send(id)
		}
		if err != nil {
			return
		}
	}
}

func dialCanned(t *testing.T, addr string) *canned {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c := newCanned(nc)
	c.id = 1
	if _, err := nc.Write(append([]byte(http2.ClientPreface), 0, 0, 0, byte(http2.FrameSettings), 0, 0, 0, 0, 0)); err != nil {
		t.Fatal(err)
	}
	c.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, block(
		":method", "POST", ":scheme", "http", ":path", "/grpc.testing.TestService/EmptyCall", ":authority", "echo.example.com",
		"content-type", "application/grpc", "te", "trailers", "user-agent", "grpc-go/1.85.0", "grpc-accept-encoding", "gzip",
		"grpc-timeout", "19000000u", "authorization", "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
		"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x-request-id", "4f2c1a", "x-tenant", "tenant-17",
		"x-client-version", "4.12.3", "accept-language", "en", "x-region", "eu-central-1"))
	c.frame(http2.FrameData, http2.FlagDataEndStream, make([]byte, 5))
	return c
}

func (c *canned) call(t *testing.T) {
	if err := c.send(c.id); err != nil {
		t.Fatal(err)
	}
	if id, err := c.next(); err != nil || id != c.id {
		t.Fatalf("call %d: %d, %v", c.id, id, err)
	}
	c.id += 2
}
