package conformance

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// What bodies over REST may cost the gateway, over what it has when idle: the peak of its
// resident memory. GOGC is low, so that what is held counts and garbage does not: without
// it the command lets garbage grow to 32 MiB before it collects.
const (
	maxUpload = 8 << 20
	maxBomb   = 16 << 20
	maxTime   = 10 * time.Second // until a bomb is answered, on a busy machine and with a collector that always runs
	bombSize  = 4 << 20
	fileSize  = 1 << 20
)

const bombProto = `syntax = "proto3";
package bomb;
import "google/api/httpbody.proto";
import "google/protobuf/any.proto";
import "google/protobuf/struct.proto";
service Bombs {
  rpc Echo(M) returns (M);
  rpc Put(stream google.api.HttpBody) returns (M);
  rpc Get(M) returns (stream google.api.HttpBody);
  rpc File(M) returns (google.api.HttpBody);
}
message M {
  string s = 1;
  int64 n = 2;
  repeated M more = 3;
  google.protobuf.Value value = 4;
  google.protobuf.Any any = 5;
  repeated bool bools = 6;
  map<string, string> map = 7;
  bytes data = 8;
  M m = 9;
  repeated double doubles = 10;
  google.protobuf.Struct struct = 11;
}
`

const bombRules = `http:
  rules:
    - {selector: bomb.Bombs.Echo, post: /echo, body: "*"}
    - {selector: bomb.Bombs.Put, put: /upload, body: "*"}
    - {selector: bomb.Bombs.Get, get: /download}
    - {selector: bomb.Bombs.File, get: /file}
`

const httpBodyProto = `syntax = "proto3";
package google.api;
import "google/protobuf/any.proto";
message HttpBody {
  string content_type = 1;
  bytes data = 2;
  repeated google.protobuf.Any extensions = 3;
}
`

// rawBytes is a codec whose messages are their bytes.
type rawBytes struct{}

func (rawBytes) Name() string { return "proto" }
func (rawBytes) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}
func (rawBytes) Unmarshal(b mem.BufferSlice, v any) error {
	*v.(*[]byte) = b.Materialize()
	return nil
}

var _ encoding.CodecV2 = rawBytes{}

// bombs are what a hostile backend answers.
var bombs = map[string]func() []byte{}

// bombServer counts what it gets, and answers with the bomb that metadata names.
func bombServer(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	md, _ := metadata.FromIncomingContext(stream.Context())
	total, count := 0, 0
	for {
		var m []byte
		err := stream.RecvMsg(&m)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		total += len(m)
		count++
		if method != "/bomb.Bombs/Put" {
			break
		}
	}
	if method == "/bomb.Bombs/File" {
		file := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), make([]byte, fileSize))
		if err := stream.SendMsg(&file); err != nil || len(md.Get("x-fail")) == 0 {
			return err
		}
		return status.Error(codes.DataLoss, "the disk is gone")
	}
	if method == "/bomb.Bombs/Get" {
		piece := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), make([]byte, 32<<10))
		for range 200 << 20 / (32 << 10) {
			if err := stream.SendMsg(&piece); err != nil {
				return err
			}
		}
		return nil
	}
	answer := protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), uint64(total))
	if name := md.Get("x-bomb"); len(name) > 0 {
		f := bombs[name[0]]
		if f == nil {
			return status.Error(codes.NotFound, name[0])
		}
		answer = f()
	}
	return stream.SendMsg(&answer)
}

// bombGateway starts a gateway before bombServer.
func bombGateway(t *testing.T) *scene {
	t.Helper()
	t.Setenv("GOGC", "10")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawBytes{}), grpc.UnknownServiceHandler(bombServer), grpc.MaxRecvMsgSize(64<<20))
	go server.Serve(l) // ends with Stop
	t.Cleanup(server.Stop)
	dir := t.TempDir()
	for name, text := range map[string]string{"bomb.proto": bombProto, "rules.yaml": bombRules, "google/api/httpbody.proto": httpBodyProto} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g, err := gateway.Serve(gateway.Options{Command: sluice(t), Args: []string{
		"--schema", filepath.Join(dir, "bomb.proto"), "--proto-path", dir, "--http-rules", filepath.Join(dir, "rules.yaml"), l.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	s := &scene{Gateway: g}
	for range 3 { // what is only needed once
		s.send(t, "PUT", "/upload", strings.NewReader("x"), "content-type", "text/plain")
		s.send(t, "POST", "/echo", strings.NewReader(zipped("{}")), "content-type", "application/json", "content-encoding", "gzip")
		s.send(t, "POST", "/echo", strings.NewReader(strings.Repeat(" ", 300<<10)+"{"), "content-type", "application/json")
	}
	return s
}

// status reads a size of the gateway's process, such as VmHWM, in bytes.
func (s *scene) status(t *testing.T, name string) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), name+":")
	n, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// peak returns how far f takes the resident memory over what it was.
func (s *scene) peak(t *testing.T, f func()) int64 {
	t.Helper()
	before := s.status(t, "VmRSS")
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.Cmd.Process.Pid), []byte("5"), 0); err != nil { // resets VmHWM
		t.Skip(err)
	}
	f()
	return s.status(t, "VmHWM") - before
}

func (s *scene) send(t *testing.T, verb, path string, body io.Reader, headers ...string) (int, string) {
	t.Helper()
	return s.sendBy(t, http.DefaultClient, verb, path, body, headers...)
}

// clientsOf are clients of HTTP/1.1 and of HTTP/2.
func clientsOf(t *testing.T) map[string]*http.Client {
	clients := map[string]*http.Client{}
	for name, http2 := range map[string]bool{"h1": false, "h2": true} {
		p := new(http.Protocols)
		p.SetHTTP1(!http2)
		p.SetUnencryptedHTTP2(http2)
		transport := &http.Transport{Protocols: p}
		t.Cleanup(transport.CloseIdleConnections)
		clients[name] = &http.Client{Transport: transport}
	}
	return clients
}

func (s *scene) sendBy(t *testing.T, client *http.Client, verb, path string, body io.Reader, headers ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, verb, "http://"+s.Addr+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1000))
	if err != nil {
		return 0, err.Error()
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		return 0, fmt.Sprintf("%d bytes, then %v", n, err)
	}
	if n > 0 {
		return resp.StatusCode, fmt.Sprintf("%s and %d bytes more", b[:min(100, len(b))], n)
	}
	return resp.StatusCode, string(b)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// TestBodiesMemory: bodies in pieces cost what is on the way, whatever their length.
func TestBodiesMemory(t *testing.T) {
	const size = 200 << 20
	for name, client := range clientsOf(t) {
		t.Run(name, func(t *testing.T) {
			s := bombGateway(t)
			var code int
			var body string
			up := s.peak(t, func() {
				code, body = s.sendBy(t, client, "PUT", "/upload", io.LimitReader(zeros{}, size), "content-type", "text/plain")
			})
			var answer int
			if _, err := fmt.Sscanf(body, `{"n":"%d"}`, &answer); err != nil || code != 200 || answer < size {
				t.Errorf("upload: %d %s", code, body)
			}
			down := s.peak(t, func() { code, body = s.sendBy(t, client, "GET", "/download", nil) })
			if code != 200 || !strings.Contains(body, fmt.Sprint(size-1000)) {
				t.Errorf("download: %d %q", code, body)
			}
			t.Logf("peak over idle: upload %.1f MiB, download %.1f MiB", float64(up)/(1<<20), float64(down)/(1<<20))
			if up > maxUpload || down > maxUpload {
				t.Errorf("%d and %d bytes, at most %d are expected", up, down, maxUpload)
			}
		})
	}
}

// TestBodyCut: a file whose call fails after its content has left does not look whole.
func TestBodyCut(t *testing.T) {
	s := bombGateway(t)
	for name, client := range clientsOf(t) {
		if code, body := s.sendBy(t, client, "GET", "/file", nil); code != 200 || !strings.Contains(body, fmt.Sprint(fileSize-1000)) {
			t.Errorf("%s: %d %q", name, code, body)
		}
		if code, body := s.sendBy(t, client, "GET", "/file", nil, "x-fail", "1"); code != 0 {
			t.Errorf("%s: %d %q of a call that failed", name, code, body)
		}
	}
}

// repeated fills a body to the size of a bomb.
func repeated(before, unit, after string) string {
	return before + strings.Repeat(unit, (bombSize-len(before)-len(after))/len(unit)) + after
}

func zipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

// TestBombsMemory: what is meant to cost much costs little, and is answered quickly.
func TestBombsMemory(t *testing.T) {
	bytesField := func(n protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), v)
	}
	answers := map[string][]byte{
		"control characters": bytesField(1, bytes.Repeat([]byte{1}, bombSize-10)),
		"bytes":              bytesField(8, make([]byte, bombSize-10)),
		"bools":              bytesField(6, bytes.Repeat([]byte{1}, bombSize-10)),
		"doubles":            bytesField(10, bytes.Repeat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xef, 0x7f}, bombSize/8-2)),
		"empty messages":     bytes.Repeat([]byte{0x1a, 0}, bombSize/2),
		"map":                bytes.Repeat([]byte{0x3a, 0}, bombSize/2),
		"scattered":          bytes.Repeat([]byte{0x1a, 0, 0x32, 1, 1}, bombSize/5),
		"merged":             bytes.Repeat([]byte{0x4a, 2, 0x1a, 0}, bombSize/4),
	}
	deep := []byte{}
	for len(deep) < bombSize/2 {
		deep = append(protowire.AppendVarint([]byte{0x4a}, uint64(len(deep))), deep...)
		if len(deep) > 4000 {
			deep = bytes.Repeat(deep, bombSize/len(deep)/2)
		}
	}
	answers["deep"] = deep
	for name, b := range answers {
		bombs[name] = func() []byte { return b }
	}
	any := strings.Repeat(`{"any":{"@type":"type.googleapis.com/bomb.M","any":`, 40000)
	type request struct{ name, body, encoding, bomb, accept string }
	requests := []request{
		{name: "answer: bytes, as a line", body: "{}", bomb: "bytes", accept: "application/x-ndjson"},
		{name: "answer: bytes, as an event", body: "{}", bomb: "bytes", accept: "text/event-stream"},
		{name: "answer: bytes, as protobuf", body: "{}", bomb: "bytes", accept: "application/x-protobuf"},
		{name: "lists in each other", body: repeated(`{"value":`, "[", "")},
		{name: "objects in each other", body: repeated("", `{"m":`, "")},
		{name: "unknown, in each other", body: repeated(`{"x":`, "[", "")},
		{name: "Any in each other", body: repeated("", any, "")},
		{name: "@type last", body: repeated(`{"any":{"value":"`, "x", `","@type":"type.googleapis.com/bomb.M"}}`)},
		{name: "digits", body: repeated(`{"n":`, "1", "}")},
		{name: "fraction", body: repeated(`{"doubles":[0.`, "1", "]}")},
		{name: "exponent", body: `{"n":1e999999999}`},
		{name: "escapes", body: repeated(`{"s":"`, `\u0041`, `"}`)},
		{name: "surrogates", body: repeated(`{"s":"`, `\ud83d\ude00`, `"}`)},
		{name: "empty objects", body: repeated(`{"more":[`, "{},", "{}]}")},
		{name: "values", body: repeated(`{"value":[`, "0,", "0]}")},
		{name: "objects of values", body: repeated(`{"value":[`, "{},", "0]}")},
		{name: "keys", body: repeated(`{"map":{`, `"":"",`, `"":""}}`)},
		{name: "keys of a struct", body: repeated(`{"struct":{`, `"":0,`, `"":0}}`)},
		{name: "unknown keys", body: repeated("{", `"x":0,`, `"x":0}`)},
		{name: "spaces", body: repeated("", " ", "{}")},
		{name: "base64", body: repeated(`{"data":"`, "AAAA", `"}`)},
		{name: "unclosed", body: repeated(`{"s":"`, "x", "")},
		{name: "gzip, over the limit", body: zipped(strings.Repeat(" ", 64<<20)), encoding: "gzip"},
		{name: "gzip, within the ratio", body: zipped(repeated("", "[{", "")), encoding: "gzip"},
		{name: "gzip, 1 MiB", body: zipped(strings.Repeat("[", 1<<20)), encoding: "gzip"},
	}
	for name := range answers {
		requests = append(requests, request{name: "answer: " + name, body: "{}", bomb: name})
	}
	for _, r := range requests {
		t.Run(r.name, func(t *testing.T) {
			var code int
			var body string
			s := bombGateway(t)
			start := time.Now()
			peak := s.peak(t, func() {
				code, body = s.send(t, "POST", "/echo", strings.NewReader(r.body), "content-type", "application/json", "content-encoding", r.encoding, "x-bomb", r.bomb, "accept", r.accept)
			})
			took := time.Since(start)
			_ = s.Cmd.Process.Kill() // it need not drain
			t.Logf("%3d %5.1f MiB %6d ms  %.90s", code, float64(peak)/(1<<20), took.Milliseconds(), body)
			if peak > maxBomb || took > maxTime || code == 0 {
				t.Errorf("%d, %d bytes over idle, %v", code, peak, took)
			}
		})
	}
}
