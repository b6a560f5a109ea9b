package schema

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// server speaks reflection as it is told: an answer for each request.
type server struct {
	services map[string]func(request []byte) []byte
	asked    int // questions, in all
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
		s.s.asked++
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
	dep2 := &descriptorpb.FileDescriptorProto{Name: proto.String("t2.proto"), Syntax: proto.String("proto3"), Dependency: []string{"missing2.proto"}}
	for name, test := range map[string]struct {
		services map[string]func([]byte) []byte
		err      string
	}{
		"v1":            {map[string]func([]byte) []byte{reflectionV1: good(t, file, dep, dep2)}, ""},
		"v1alpha":       {map[string]func([]byte) []byte{reflectionV1Alpha: good(t, file, dep, dep2)}, ""},
		"none":          {nil, "does not offer"},
		"garbage":       {map[string]func([]byte) []byte{reflectionV1: func([]byte) []byte { return []byte{0xff} }}, "broken"},
		"empty answers": {map[string]func([]byte) []byte{reflectionV1: func([]byte) []byte { return nil }}, "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			s, err := Reflect(ctx, &server{services: test.services}, nil)
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
	if _, err := Reflect(context.Background(), &server{}, nil); !errors.Is(err, ErrNoReflection) {
		t.Error(err)
	}
}

// by is a server that answers so, by v1.
func by(answer func([]byte) []byte) *server {
	return &server{services: map[string]func([]byte) []byte{reflectionV1: answer}}
}

func question(request []byte) (num protowire.Number, arg string) {
	_ = fields(request, func(n protowire.Number, _ uint64, b []byte) error {
		num, arg = n, string(b)
		return nil
	})
	return num, arg
}

// lists answers with these services, and what file gives for the rest.
func lists(services []string, file func(num protowire.Number, arg string) []byte) func([]byte) []byte {
	return func(request []byte) []byte {
		num, arg := question(request)
		if num != 7 {
			return file(num, arg)
		}
		var list []byte
		for _, name := range services {
			list = append(list, bytesField(1, bytesField(1, []byte(name)))...)
		}
		return bytesField(6, list)
	}
}

func notFound(protowire.Number, string) []byte {
	return bytesField(7, bytesField(2, []byte("not found")))
}

func always(raw ...[]byte) func(protowire.Number, string) []byte {
	return func(protowire.Number, string) []byte {
		var out []byte
		for _, b := range raw {
			out = append(out, bytesField(1, b)...)
		}
		return bytesField(4, out)
	}
}

// TestReflectAgain: what was said before is not built again, and what is in a file that
// is known already is not asked for.
func TestReflectAgain(t *testing.T) {
	other := testFile("t.proto")
	other.Service = append(other.Service, &descriptorpb.ServiceDescriptorProto{Name: proto.String("S2")})
	for name, files := range map[string][]*descriptorpb.FileDescriptorProto{"same": {testFile("t.proto")}, "field": {version("x")}, "service": {other}} {
		old, err := Reflect(t.Context(), by(good(t, testFile("t.proto"))), nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Reflect(t.Context(), by(good(t, files...)), old)
		if err != nil || (s == old) != (name == "same") {
			t.Errorf("%s: the same schema: %v, %v", name, s == old, err)
		}
	}
	srv := by(lists([]string{"t.S", "t.S2", "t.S"}, always(marshal(t, other))))
	s, err := Reflect(t.Context(), srv, nil)
	if err != nil || !slices.Equal(s.Services(), []string{"t.S", "t.S2"}) {
		t.Fatal(s.Services(), err)
	}
	if srv.asked > 3 {
		t.Errorf("%d questions", srv.asked)
	}
}

// TestReflectManyServices: the files of more services than are asked for at once.
func TestReflectManyServices(t *testing.T) {
	var names []string
	files := map[string][]byte{}
	for i := range 50 {
		name := fmt.Sprintf("t.S%d", i)
		f := testFile(fmt.Sprintf("%d.proto", i), "m.proto")
		f.MessageType, f.Service[0].Name = nil, proto.String(name[2:])
		names, files[name] = append(names, name), marshal(t, f)
	}
	files["m.proto"] = marshal(t, &descriptorpb.FileDescriptorProto{Name: proto.String("m.proto"), Package: proto.String("t"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("M")}}})
	srv := by(lists(names, func(_ protowire.Number, arg string) []byte { return always(files[arg])(0, "") }))
	s, err := Reflect(t.Context(), srv, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Services()) != 50 || s.Methods() != 250 || s.Unresolved() != nil && len(s.Unresolved()) > 0 || srv.asked != 52 {
		t.Error(len(s.Services()), s.Methods(), s.Unresolved(), srv.asked)
	}
}

// TestReflectIncomplete: what a backend does not describe does no harm to what it does.
func TestReflectIncomplete(t *testing.T) {
	file := marshal(t, testFile("t.proto", "gone.proto"))
	s, err := Reflect(t.Context(), by(lists([]string{"x.Unknown", "t.S"}, func(num protowire.Number, arg string) []byte {
		if arg == "t.S" {
			return always(file)(num, arg)
		}
		return notFound(num, arg)
	})), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Undescribed(), []string{"x.Unknown"}) || !slices.Equal(s.Services(), []string{"t.S", "x.Unknown"}) || s.Method("/t.S/Get") == nil {
		t.Error(s.Undescribed(), s.Services())
	}
	_, err = Reflect(t.Context(), by(lists([]string{"x.Unknown"}, notFound)), nil)
	if err == nil || !strings.Contains(err.Error(), `lists the service "x.Unknown" and has no descriptor of it: not found`) {
		t.Error(err)
	}
	file = marshal(t, &descriptorpb.FileDescriptorProto{Name: proto.String("t.proto"), Package: proto.String("t"), Dependency: []string{"gone.proto"},
		Service: testFile("").Service})
	s, err = Reflect(t.Context(), by(lists([]string{"t.S"}, func(num protowire.Number, arg string) []byte {
		if num == 4 {
			return always(file)(num, arg)
		}
		return notFound(num, arg)
	})), nil)
	if err != nil || !slices.Equal(s.Unresolved(), []string{"t.M"}) || s.Lookup("/t.S/Get") == nil {
		t.Error(s, err)
	}
}

func TestReflectHostile(t *testing.T) {
	file := func(f *descriptorpb.FileDescriptorProto) []byte { return marshal(t, f) }
	named := func(name string, deps ...string) []byte {
		return file(&descriptorpb.FileDescriptorProto{Name: &name, Dependency: deps})
	}
	nest := &descriptorpb.DescriptorProto{Name: proto.String("M")}
	for range 100 {
		nest = &descriptorpb.DescriptorProto{Name: proto.String("M"), NestedType: []*descriptorpb.DescriptorProto{nest}}
	}
	n := 0
	s := []string{"t.S"}
	long := func(num protowire.Number, arg string) []byte { // a chain of imports, and its end
		if arg == "t.S" {
			return always(file(testFile("t.proto", "1")))(num, arg)
		}
		var i int
		if _, err := fmt.Sscan(arg, &i); err != nil || i >= 3000 {
			return always(named(arg))(num, arg)
		}
		return always(named(arg, fmt.Sprint(i+1)))(num, arg)
	}
	for name, test := range map[string]struct {
		answer func([]byte) []byte
		err    string
	}{
		"endless imports": {lists(s, func(num protowire.Number, _ string) []byte {
			n++
			return always(named(fmt.Sprint(n), fmt.Sprint(n+1)))(num, "")
		}), "more than 4096"},
		"files nobody asked for": {lists(s, func(num protowire.Number, _ string) []byte {
			var all [][]byte
			for range 1000 {
				n++
				all = append(all, named(fmt.Sprintf("x%d", n)))
			}
			return always(append(all, named(fmt.Sprintf("y%d", n), fmt.Sprint(n+1)))...)(num, "")
		}), "more than 4096 files"},
		"many files in an answer": {lists(s, always(make([][]byte, 5000)...)), "more than 4096 files in an answer"},
		"many imports in a file": {lists(s, always(named("t.proto", slices.Collect(func(yield func(string) bool) {
			for i := range 5000 {
				if !yield(fmt.Sprint(i)) {
					return
				}
			}
		})...))), "more than 4096 imports"},
		"many services":       {lists(make([]string, 5000), notFound), "empty"},
		"many named services": {lists(slices.Repeat(s, 5000), notFound), "more than 4096 services"},
		"imports in a circle": {lists(s, func(num protowire.Number, arg string) []byte {
			if arg == "b.proto" {
				return always(named("b.proto", "t.proto"))(num, arg)
			}
			return always(file(testFile("t.proto", "b.proto")))(num, arg)
		}), "cycle"},
		"imports itself":     {lists(s, always(file(testFile("t.proto", "t.proto")))), "descriptors"},
		"no name":            {lists(s, always(named(""))), "a name is empty"},
		"a long name":        {lists(s, always(named(strings.Repeat("x", 2000)))), "longer than"},
		"a long import":      {lists(s, always(named("a", strings.Repeat("x", 2000)))), "longer than"},
		"a long service":     {lists([]string{strings.Repeat("x", 2000)}, notFound), "longer than"},
		"a long package":     {lists(s, always(file(&descriptorpb.FileDescriptorProto{Name: proto.String("a"), Package: proto.String(strings.Repeat("x", 1<<20))}))), "longer than"},
		"deep nesting":       {lists(s, always(file(&descriptorpb.FileDescriptorProto{Name: proto.String("a"), MessageType: []*descriptorpb.DescriptorProto{nest}}))), "nested more than 32"},
		"a bomb of messages": {lists(s, always(append(named("a"), []byte(strings.Repeat("\x22\x00", 1<<20))...))), "too much memory"},
		"a bomb of options":  {lists(s, always(append(named("a"), bytesField(8, []byte(strings.Repeat("\xba\x3e\x00", 1<<20)))...))), "too much memory"},
		"a bomb of numbers": {lists(s, func(num protowire.Number, arg string) []byte {
			n++
			return always(append(named(fmt.Sprint(n), fmt.Sprint(n+1-n/12)), bytesField(10, make([]byte, 3<<20))...))(num, arg)
		}), "too much memory"},
		"large files": {lists(s, func(num protowire.Number, arg string) []byte {
			n++
			return bytesField(4, append(bytesField(1, named(fmt.Sprint(n), fmt.Sprint(n+1))), bytesField(2, make([]byte, 3<<20))...))
		}), "larger than"},
		"a large answer":            {lists(s, always(append(named("a"), bytesField(99, make([]byte, 5<<20))...))), "too large"},
		"a service that is no name": {lists([]string{"a.\x1b[2J"}, notFound), `"a.\x1b[2J" is not the name of a service`},
		"an error for a terminal": {lists(s, func(protowire.Number, string) []byte {
			return bytesField(7, bytesField(2, []byte("\x1b[2J\n\xffsorry")))
		}), "of it: ?[2J?\ufffdsorry"},
		"a broken file":      {lists(s, always([]byte("\x0a\x01a\x22\xff"))), "broken"},
		"a file that is bad": {lists(s, always([]byte("\x0a\x01a\x22\x03\x0a\x01\xff"))), "invalid nested name"},
		"invalid": {lists(s, always(file(&descriptorpb.FileDescriptorProto{Name: proto.String("a"), MessageType: []*descriptorpb.DescriptorProto{{
			Name: proto.String("not a name")}}}))), "descriptors"},
		"a long chain of imports": {lists(s, long), ""},
	} {
		t.Run(name, func(t *testing.T) {
			n = 0
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Reflect(ctx, by(test.answer), nil)
			runtime.ReadMemStats(&after)
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %v", err)
			}
			// All that was allocated, by the fake server too.
			if n := (after.TotalAlloc - before.TotalAlloc) >> 20; n > 1024 {
				t.Errorf("%d MiB", n)
			}
		})
	}
}

// TestReflectLies: a file is what it says it is, and the first of a name counts.
func TestReflectLies(t *testing.T) {
	truth, other := version("a"), version("b")
	s, err := Reflect(t.Context(), by(lists([]string{"t.S"}, func(num protowire.Number, arg string) []byte {
		if num == 4 {
			truth.Dependency = []string{"dep.proto"}
			return always(marshal(t, truth), marshal(t, other))(num, arg)
		}
		return always(marshal(t, other), marshal(t, &descriptorpb.FileDescriptorProto{Name: proto.String("else.proto")}))(num, arg)
	})), nil)
	if err != nil {
		t.Fatal(err)
	}
	if name := s.Method("/t.S/Get").Input().Fields().Get(0).Name(); name != "a" {
		t.Error(name)
	}
	if _, err := s.Files().FindFileByPath("dep.proto"); err == nil {
		t.Error("a file under the name that was asked for")
	}
	// A service that nobody listed is not one.
	two := testFile("t.proto")
	two.Service = append(two.Service, &descriptorpb.ServiceDescriptorProto{Name: proto.String("Hidden"), Method: two.Service[0].Method})
	s, err = Reflect(t.Context(), by(lists([]string{"t.S"}, always(marshal(t, two)))), nil)
	if err != nil || s.Lookup("/t.Hidden/Get") != nil || s.Lookup("/t.S/Get") == nil {
		t.Error(s, err)
	}
}

// A talker sends what it likes, whether asked or not, as long as it has credit.
type talker struct {
	session
	say    []byte
	window int
	sent   int
}

func (s *talker) Start(_ *rpc.Call, response rpc.Response) rpc.Request {
	s.response = response
	return s
}

func (s *talker) talk() {
	for !s.ended && s.window >= len(s.say) && len(s.say) > 0 {
		s.window -= len(s.say)
		s.sent += len(s.say)
		s.response.Data(s.say)
	}
}
func (s *talker) Begin()      {}
func (s *talker) Data([]byte) { s.talk() }
func (s *talker) Credit(n int) {
	s.window += n
}

func TestReflectTalker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, test := range map[string]struct {
			say string
			err string
		}{
			"says nothing":                  {"", "deadline exceeded"},
			"an answer that does not end":   {"\x00\x00\x20\x00\x00" + strings.Repeat("x", 1000), "broken"},
			"too large an answer":           {"\x00\xff\x00\x00\x00", "too large"},
			"compressed":                    {"\x01\x00\x00\x00\x01x", "compressed"},
			"answers that nobody asked for": {"\x00\x00\x00\x00\x02\x32\x00", ""},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			s := &talker{say: []byte(strings.Repeat(test.say, 20)), window: 64 << 10}
			got, err := Reflect(ctx, s, nil)
			cancel()
			if test.err == "" {
				if err != nil || len(got.Services()) != 0 {
					t.Errorf("%s: %v", name, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: got %v", name, err)
			}
			if s.sent > maxHeld+128<<10 || !s.ended {
				t.Errorf("%s: %d bytes taken, ended %v", name, s.sent, s.ended)
			}
		}
	})
	r := newReflection(t.Context(), &talker{}, reflectionV1)
	(*reflectionResponse)(r).Data([]byte("\x00\x00\x00\x00\x02\x32\x00"))
	if _, err := r.answer(t.Context()); err == nil || !strings.Contains(err.Error(), "nobody asked") {
		t.Error(err)
	}
	r.close()
}

// TestCost: the estimate is not below what descriptors take.
func TestCost(t *testing.T) {
	f := &descriptorpb.FileDescriptorProto{Name: proto.String("t.proto"), Package: proto.String("some.package.v1"), Syntax: proto.String("proto3")}
	for i := range 500 {
		m := &descriptorpb.DescriptorProto{Name: proto.String(fmt.Sprint("M", i))}
		for j := range 10 {
			m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{Name: proto.String(fmt.Sprint("field_", j)), Number: proto.Int32(int32(j + 1)),
				Type: descriptorpb.FieldDescriptorProto_TYPE_INT32.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()})
		}
		f.MessageType = append(f.MessageType, m)
	}
	raw := marshal(t, f)
	cost, err := (&file{raw: raw}).cost()
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	d := &descriptorpb.FileDescriptorProto{}
	if err := proto.Unmarshal(raw, d); err != nil {
		t.Fatal(err)
	}
	s := schemaOf(t, d)
	runtime.GC()
	runtime.ReadMemStats(&after)
	took := int(after.HeapAlloc) - int(before.HeapAlloc)
	t.Logf("%d bytes raw, %d by estimate, %d in memory", len(raw), cost, took)
	if took > cost || took < cost/20 {
		t.Errorf("%d bytes, by estimate %d", took, cost)
	}
	runtime.KeepAlive(d)
	runtime.KeepAlive(s)
}

// FuzzScan: what is seen in a file without making messages of it is what is in them.
func FuzzScan(f *testing.F) {
	full := testFile("t.proto", "a.proto", "b.proto")
	full.EnumType = []*descriptorpb.EnumDescriptorProto{{Name: proto.String("E"), Value: []*descriptorpb.EnumValueDescriptorProto{{Name: proto.String("ZERO"), Number: proto.Int32(0)}}}}
	full.MessageType[0].NestedType = []*descriptorpb.DescriptorProto{{Name: proto.String("N"), OneofDecl: []*descriptorpb.OneofDescriptorProto{{Name: proto.String("o")}}}}
	f.Add(marshal(f, full))
	f.Add(marshal(f, version("x")))
	f.Add([]byte("\x0a\x01a\x08\x05\x12\x01p\x32\x05\x0a\x01S\x08\x01\x32\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d descriptorpb.FileDescriptorProto
		bad := proto.Unmarshal(b, &d)
		got, err := scan(b)
		if err != nil || bad != nil {
			return // each knows mistakes of its own
		}
		if n, err := got.cost(); err == nil && n < proto.Size(&d) {
			t.Errorf("costs %d bytes, and is %d", n, proto.Size(&d))
		}
		if got.name != d.GetName() || !slices.Equal(got.imports, d.Dependency) {
			t.Errorf("%q imports %q, want %q %q", got.name, got.imports, d.GetName(), d.Dependency)
		}
		for i, s := range d.Service {
			want := s.GetName()
			if d.GetPackage() != "" {
				want = d.GetPackage() + "." + want
			}
			if got.services[i] != want {
				t.Errorf("service %q, want %q", got.services[i], want)
			}
		}
		if name, err := fileName(b); err != nil || name != got.name {
			t.Errorf("name %q, want %q: %v", name, got.name, err)
		}
	})
}

// script answers each question with the next of its answers, whatever it was.
func script(b []byte) *server {
	return by(func([]byte) []byte {
		if len(b) == 0 {
			return nil
		}
		n := min(int(b[0]), len(b)-1)
		if b[0] == 255 && len(b) > 3 { // a long one
			n = min(int(binary.BigEndian.Uint16(b[1:])), len(b)-3)
			b = b[2:]
		}
		answer := b[1 : 1+n]
		b = b[1+n:]
		return answer
	})
}

// FuzzReflect: whatever a backend answers, in whatever order, there is an end, and what
// comes of it is whole.
func FuzzReflect(f *testing.F) {
	seed := func(answers ...[]byte) {
		var b []byte
		for _, a := range answers {
			b = append(binary.BigEndian.AppendUint16(append(b, 255), uint16(len(a))), a...)
		}
		f.Add(b)
	}
	list := lists([]string{"t.S"}, notFound)(appendField(nil, 7, "*"))
	one := func(deps ...string) []byte { return always(marshal(f, testFile("t.proto", deps...)))(0, "") }
	seed(list, one())
	seed(list, one("dep.proto"), notFound(0, ""))
	seed(list, one("b.proto"), always(marshal(f, testFile("b.proto", "t.proto")))(0, ""))
	seed(lists([]string{"t.S", "t.Other"}, nil)(appendField(nil, 7, "*")), one("dep.proto"), notFound(0, ""), one())
	seed(list, always([]byte("\x0a\x01a\x22\x03\x0a\x01\xff"))(0, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Reflect(t.Context(), script(b), nil)
		if err != nil {
			return
		}
		for _, name := range s.Services() {
			if !slices.Contains(s.Undescribed(), name) && s.Files().NumFiles() == 0 {
				t.Errorf("%s is described by nothing", name)
			}
		}
		for name, m := range s.methods {
			if s.Method(name) == nil || s.Lookup(name) != m.Method || m.Name != name {
				t.Errorf("%s: %v", name, m)
			}
		}
		if again, err := Reflect(t.Context(), script(b), s); again != s {
			t.Error("the same is not the same again", err)
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

// BenchmarkReflect asks for 200 services, each in a file of its own: for the first time,
// and when nothing has changed.
func BenchmarkReflect(b *testing.B) {
	var names []string
	files := map[string][]byte{}
	for i := range 200 {
		f := testFile(fmt.Sprintf("%d.proto", i))
		f.Package = proto.String(fmt.Sprintf("t%d", i))
		for j := range 20 {
			m := &descriptorpb.DescriptorProto{Name: proto.String(fmt.Sprint("Message", j))}
			for k := range 10 {
				m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{Name: proto.String(fmt.Sprint("field_", k)), Number: proto.Int32(int32(k + 1)),
					Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()})
			}
			f.MessageType = append(f.MessageType, m)
		}
		for _, m := range f.Service[0].Method {
			m.InputType, m.OutputType = proto.String("M"), proto.String("M")
		}
		name := fmt.Sprintf("t%d.S", i)
		names, files[name] = append(names, name), marshal(b, f)
	}
	srv := by(lists(names, func(_ protowire.Number, arg string) []byte { return always(files[arg])(0, "") }))
	first, err := Reflect(b.Context(), srv, nil)
	if err != nil {
		b.Fatal(err)
	}
	for name, old := range map[string]*Schema{"first": nil, "unchanged": first} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if s, err := Reflect(b.Context(), srv, old); err != nil || old != nil && s != old {
					b.Fatal(err)
				}
			}
		})
	}
}
