package conformance

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

// webCases is how many cases the programs in web have.
const webCases = 134 + 128 + 90

// TestWeb lets clients of browsers call through the gateway: improbable-eng/grpc-web and
// Connect-ES in Node, also on the TypeScript client, improbable-eng/grpc-web and nice-grpc-web over WebSockets, and Connect-ES in Chromium on a page of another origin, without TLS
// and with. The programs are in web; what serves them is a webBackend, since the demo
// knows no metadata and no details, and the demo where it is enough.
func TestWeb(t *testing.T) {
	t.Parallel()
	env := webEnv(t)
	demo, err := gateway.Serve(gateway.Options{Command: sluice(t), Demo: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(demo.Stop)
	passed := runWeb(t, []string{"improbable.test.js", "connect-node.test.js", "demo.test.js", "browser.test.js", "grpc-websockets.test.js", "sluice-connect.test.js"},
		append(env, "WEB_DEMO=http://"+demo.Addr)...)
	if passed != webCases {
		t.Errorf("%d cases passed, want %d", passed, webCases)
	}
}

// adapterCases is how many cases web/adapters.test.js has.
const adapterCases = 3*17 + 1

// TestAdapters lets clients of other libraries call on sessions of the TypeScript client, in Node and Chromium.
func TestAdapters(t *testing.T) {
	t.Parallel()
	if passed := runWeb(t, []string{"adapters.test.js"}, append(webEnv(t), "WEB_DEMO=none")...); passed != adapterCases {
		t.Errorf("%d cases passed, want %d", passed, adapterCases)
	}
}

// webEnv starts a gateway in front of a webBackend, and returns what tells the programs of it.
func webEnv(t *testing.T) []string {
	t.Helper()
	chromium := installed(t, "chromium")
	set := schema(t, filepath.Join("..", "cmd", "sluice", "internal", "demo", "demopb"), "demo.proto")
	page, err := gateway.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := gateway.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.Serve(gateway.Options{
		Command: sluice(t), Cert: cert, Key: key,
		Args: []string{"--schema", set, "--cors-origin", "http://" + page, serveWeb(t, set)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Stop()
		if t.Failed() {
			t.Logf("sluice:\n%s", g.Output())
		}
	})
	_, port, _ := net.SplitHostPort(page)
	return []string{
		"WEB_HTTP=http://" + g.Addr, "WEB_HTTPS=https://" + g.TLSAddr,
		"WEB_LISTED_PORT=" + port, "WEB_SCHEMA=" + set, "WEB_CHROMIUM=" + chromium,
	}
}

// runWeb runs programs of web, and returns how many cases passed.
func runWeb(t *testing.T, files []string, env ...string) (passed int) {
	t.Helper()
	node := installed(t, "node")
	modules(t)
	for _, file := range files {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		c := exec.CommandContext(ctx, node, "--test-reporter=tap", file)
		c.Dir, c.WaitDelay = "web", 5*time.Second
		c.Env = append(os.Environ(), env...)
		out, err := c.CombinedOutput()
		cancel()
		n := passes(out)
		passed += n
		t.Logf("%s: %d passed", file, n)
		if err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
	return passed
}

var passLine = regexp.MustCompile(`(?m)^# pass (\d+)$`)

// passes reads the summary of Node's test runner; skipped cases don't count.
func passes(tap []byte) int {
	m := passLine.FindSubmatch(tap)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}

// installed finds a program of the system.
func installed(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath(filepath.Join("/usr/sbin", name)) // not in everybody's PATH
	}
	if err != nil {
		t.Fatalf("%v; make judges installs it", err)
	}
	return path
}

var modulesMu sync.Mutex

// modules installs what web/package-lock.json says, if that has changed since.
func modules(t *testing.T) {
	t.Helper()
	modulesMu.Lock()
	defer modulesMu.Unlock()
	lock, err := os.Stat(filepath.Join("web", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	// npm writes this file last.
	if done, err := os.Stat(filepath.Join("web", "node_modules", ".package-lock.json")); err == nil && done.ModTime().After(lock.ModTime()) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, installed(t, "npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	c.Dir, c.WaitDelay = "web", 5*time.Second
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("npm ci in conformance/web, which needs the npm registry once: %v\n%s", err, out)
	}
}

// A webBackend is the demo's service with what web clients have to be asked about:
// metadata, errors with details, calls that go away. Request metadata says what it does:
//
//	x-echo, x-echo-bin   comes back as a header of that name
//	x-end, x-end-bin     comes back as trailer x-echo-trailer, x-echo-trailer-bin
//	x-fail               the code to fail with, after the messages
//	x-wait               Echo never answers
//
// Sum and Chat are the demo's; Chat sends its headers before it has read anything.
//
// Header x-running is the number of calls that wait, x-timeout-ms what is left of the deadline.
type webBackend struct {
	service protoreflect.ServiceDescriptor
	running atomic.Int64
}

// serveWeb starts a webBackend and returns its address.
func serveWeb(t *testing.T, set string) string {
	t.Helper()
	b, err := os.ReadFile(set)
	if err != nil {
		t.Fatal(err)
	}
	var fds descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(b, &fds); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(&fds)
	if err != nil {
		t.Fatal(err)
	}
	d, err := files.FindDescriptorByName("sluice.demo.v1.Demo")
	if err != nil {
		t.Fatal(err)
	}
	w := &webBackend{service: d.(protoreflect.ServiceDescriptor)}
	server := grpc.NewServer(grpc.UnknownServiceHandler(w.serve))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }() // ended by the cleanup
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func (w *webBackend) serve(_ any, stream grpc.ServerStream) error {
	path, _ := grpc.MethodFromServerStream(stream)
	method := w.service.Methods().ByName(protoreflect.Name(filepath.Base(path)))
	if method == nil {
		return status.Error(codes.Unimplemented, path)
	}
	request, response := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	if !method.IsStreamingClient() {
		if err := stream.RecvMsg(request); err != nil {
			return err
		}
	}
	in, _ := metadata.FromIncomingContext(stream.Context())
	if err := w.metadata(stream, in); err != nil {
		return err
	}
	var err error
	switch method.Name() {
	case "Sum":
		err = w.sum(stream, request, response)
	case "Chat":
		err = w.chat(stream, request, response)
	case "Echo":
		err = w.echo(stream, in, request, response)
	case "Ticker":
		err = w.ticker(stream, request, response)
	case "EchoBytes":
		err = echoBytes(stream, request)
	default:
		err = status.Error(codes.Unimplemented, path)
	}
	if code := in.Get("x-fail"); err == nil && len(code) > 0 {
		return w.failure(code[0])
	}
	return err
}

func (w *webBackend) metadata(stream grpc.ServerStream, in metadata.MD) error {
	header := metadata.Pairs("x-running", strconv.FormatInt(w.running.Load(), 10))
	if at, ok := stream.Context().Deadline(); ok {
		header.Set("x-timeout-ms", strconv.FormatInt(time.Until(at).Milliseconds(), 10))
	}
	header.Append("x-echo", in.Get("x-echo")...)
	header.Append("x-echo-bin", in.Get("x-echo-bin")...)
	trailer := metadata.MD{}
	trailer.Append("x-echo-trailer", in.Get("x-end")...)
	trailer.Append("x-echo-trailer-bin", in.Get("x-end-bin")...)
	stream.SetTrailer(trailer)
	return stream.SetHeader(header)
}

func (w *webBackend) echo(stream grpc.ServerStream, in metadata.MD, request, response *dynamicpb.Message) error {
	if len(in.Get("x-wait")) > 0 {
		w.running.Add(1)
		defer w.running.Add(-1)
		<-stream.Context().Done()
		return status.FromContextError(stream.Context().Err()).Err()
	}
	if len(in.Get("x-fail")) > 0 {
		return nil
	}
	set(response, "text", request.Get(field(request, "text")))
	return stream.SendMsg(response)
}

func (w *webBackend) ticker(stream grpc.ServerStream, request, response *dynamicpb.Message) error {
	w.running.Add(1)
	defer w.running.Add(-1)
	pause := time.Duration(request.Get(field(request, "every_ms")).Uint()) * time.Millisecond
	for n := range request.Get(field(request, "count")).Uint() {
		select {
		case <-time.After(pause):
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
		set(response, "number", protoreflect.ValueOfUint32(uint32(n+1)))
		if err := stream.SendMsg(response); err != nil {
			return err
		}
	}
	return nil
}

func (w *webBackend) sum(stream grpc.ServerStream, request, response *dynamicpb.Message) error {
	sum, count := int64(0), uint32(0)
	for {
		switch err := stream.RecvMsg(request); {
		case errors.Is(err, io.EOF):
			set(response, "sum", protoreflect.ValueOfInt64(sum))
			set(response, "count", protoreflect.ValueOfUint32(count))
			return stream.SendMsg(response)
		case err != nil:
			return err
		}
		sum += request.Get(field(request, "number")).Int()
		count++
	}
}

// chat sends its headers before it has read anything.
func (w *webBackend) chat(stream grpc.ServerStream, request, response *dynamicpb.Message) error {
	w.running.Add(1)
	defer w.running.Add(-1)
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	for n := uint32(1); ; n++ {
		switch err := stream.RecvMsg(request); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		set(response, "text", request.Get(field(request, "text")))
		set(response, "number", protoreflect.ValueOfUint32(n))
		if err := stream.SendMsg(response); err != nil {
			return err
		}
	}
}

// echoBytes answers each message with itself.
func echoBytes(stream grpc.ServerStream, m *dynamicpb.Message) error {
	for {
		switch err := stream.RecvMsg(m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := stream.SendMsg(m); err != nil {
			return err
		}
	}
}

// failure is the error that web/schema.js expects.
func (w *webBackend) failure(code string) error {
	n, err := strconv.ParseUint(code, 10, 32)
	if err != nil {
		return err
	}
	detail := dynamicpb.NewMessage(w.service.Methods().ByName("Echo").Output())
	set(detail, "text", protoreflect.ValueOfString("why"))
	packed, err := anypb.New(detail)
	if err != nil {
		return err
	}
	s := status.New(codes.Code(n), "as asked: 100% ärger €\n").Proto()
	s.Details = append(s.Details, packed)
	return status.ErrorProto(s)
}

func field(m *dynamicpb.Message, name protoreflect.Name) protoreflect.FieldDescriptor {
	return m.Descriptor().Fields().ByName(name)
}

func set(m *dynamicpb.Message, name protoreflect.Name, v protoreflect.Value) {
	m.Set(field(m, name), v)
}
