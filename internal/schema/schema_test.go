package schema

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// testFile describes the service t.S with a method of each kind.
func testFile(name string, deps ...string) *descriptorpb.FileDescriptorProto {
	m := func(name string, client, server bool) *descriptorpb.MethodDescriptorProto {
		return &descriptorpb.MethodDescriptorProto{Name: &name, InputType: proto.String(".t.M"), OutputType: proto.String(".t.M"),
			ClientStreaming: &client, ServerStreaming: &server}
	}
	get := m("Get", false, false)
	get.Options = &descriptorpb.MethodOptions{IdempotencyLevel: descriptorpb.MethodOptions_NO_SIDE_EFFECTS.Enum()}
	return &descriptorpb.FileDescriptorProto{
		Name: &name, Package: proto.String("t"), Syntax: proto.String("proto3"), Dependency: deps,
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("M")}},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("S"), Method: []*descriptorpb.MethodDescriptorProto{
			m("Unary", false, false), m("Server", false, true), m("Client", true, false), m("Bidi", true, true), get}}},
	}
}

func marshal(t testing.TB, m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFromDescriptorSets(t *testing.T) {
	set := marshal(t, &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{testFile("t.proto", "google/protobuf/empty.proto")}})
	s, err := FromDescriptorSets(set, set)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]rpc.Method{
		"/t.S/Unary":  {},
		"/t.S/Server": {ServerStreaming: true},
		"/t.S/Client": {ClientStreaming: true},
		"/t.S/Bidi":   {ClientStreaming: true, ServerStreaming: true},
		"/t.S/Get":    {NoSideEffects: true},
	} {
		want.Name = name
		if got := s.Lookup(name); got == nil || *got != want {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	if s.Lookup("/t.S/No") != nil || s.Methods() != 5 || len(s.Services()) != 1 {
		t.Error(s.Services(), s.Methods())
	}
	if _, err := FromDescriptorSets([]byte("no set")); err == nil || !strings.Contains(err.Error(), "protoc") {
		t.Errorf("got %v", err)
	}
}

// server speaks reflection as it is told: an answer for each request.
type server struct {
	services map[string]func(request []byte) []byte
	t        testing.TB
}

type session struct {
	s        *server
	response rpc.Response
	answer   func([]byte) []byte
	buf      []byte
	ended    bool
}

func (s *server) Start(call *rpc.Call, response rpc.Response) rpc.Request {
	name := strings.Split(call.Method, "/")[1]
	return &session{s: s, response: response, answer: s.services[name]}
}

func (s *session) end(st rpc.Status) {
	if !s.ended {
		s.ended = true
		s.response.End(st, nil)
	}
}

func (s *session) Begin() {
	if s.answer == nil {
		s.end(rpc.Status{Code: rpc.Unimplemented})
	}
}

func (s *session) Data(b []byte) {
	s.buf = append(s.buf, b...)
	for !s.ended && len(s.buf) >= 5 {
		n := int(binary.BigEndian.Uint32(s.buf[1:]))
		if len(s.buf) < 5+n {
			return
		}
		answer := s.answer(s.buf[5 : 5+n])
		s.buf = s.buf[5+n:]
		s.response.Data(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(answer))), answer...))
	}
}
func (s *session) End()                 { s.end(rpc.Status{}) }
func (s *session) Cancel(st rpc.Status) { s.end(st) }
func (s *session) Credit(int)           {}
func (s *session) Done(rpc.Outcome)     {}

func bytesField(num protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), b)
}

// good answers as a server should, with files.
func good(t testing.TB, files ...*descriptorpb.FileDescriptorProto) func([]byte) []byte {
	return func(request []byte) (out []byte) {
		_ = fields(request, func(num protowire.Number, _ uint64, arg []byte) error {
			switch num {
			case 7:
				out = bytesField(6, bytesField(1, bytesField(1, []byte("t.S"))))
			case 4:
				out = bytesField(4, bytesField(1, marshal(t, files[0])))
			case 3:
				out = bytesField(7, bytesField(2, []byte("not found")))
				for _, f := range files {
					if f.GetName() == string(arg) {
						out = bytesField(4, bytesField(1, marshal(t, f)))
					}
				}
			}
			return nil
		})
		return out
	}
}

func TestReflect(t *testing.T) {
	file := testFile("t.proto", "dep.proto", "missing.proto")
	dep := &descriptorpb.FileDescriptorProto{Name: proto.String("dep.proto"), Syntax: proto.String("proto3"), Dependency: []string{"t2.proto"}}
	cycle := &descriptorpb.FileDescriptorProto{Name: proto.String("t2.proto"), Syntax: proto.String("proto3"), Dependency: []string{"missing2.proto"}}
	n := 0
	for name, test := range map[string]struct {
		services map[string]func([]byte) []byte
		err      string
	}{
		"v1":            {map[string]func([]byte) []byte{reflectionV1: good(t, file, dep, cycle)}, ""},
		"v1alpha":       {map[string]func([]byte) []byte{reflectionV1Alpha: good(t, file, dep, cycle)}, ""},
		"none":          {nil, "does not offer"},
		"garbage":       {map[string]func([]byte) []byte{reflectionV1: func([]byte) []byte { return []byte{0xff} }}, "broken"},
		"empty answers": {map[string]func([]byte) []byte{reflectionV1: func([]byte) []byte { return nil }}, "broken"},
		"endless imports": {map[string]func([]byte) []byte{reflectionV1: func(request []byte) []byte {
			if out := good(t, testFile("t.proto", "0.proto"))(request); !strings.Contains(string(out), "not found") {
				return out
			}
			n++
			f := &descriptorpb.FileDescriptorProto{Name: proto.String(strings.Repeat("x", n%7) + string(rune('a'+n%20)) + time.Duration(n).String()), Dependency: []string{time.Duration(n + 1).String()}}
			return bytesField(4, bytesField(1, marshal(t, f)))
		}}, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			s, err := Reflect(ctx, &server{test.services, t}, nil)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if m := s.Lookup("/t.S/Get"); m == nil || !m.NoSideEffects {
				t.Errorf("got %+v", m)
			}
		})
	}
	if _, err := Reflect(context.Background(), &server{nil, t}, nil); !errors.Is(err, ErrNoReflection) {
		t.Error(err)
	}
}

func FuzzFromDescriptorSets(f *testing.F) {
	f.Add(marshal(f, &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{testFile("t.proto")}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := FromDescriptorSets(b); err == nil {
			s.Lookup("/t.S/Get")
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add(good(f, testFile("t.proto"))(appendField(nil, 7, "*")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := parseAnswer(b); err == nil {
			a.services()
		}
	})
}
