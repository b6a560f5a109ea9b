package sluice_test

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-rpc/sluice"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
)

// deployed is a backend in the process that can be exchanged, and counts how often it
// was asked by reflection.
type deployed struct {
	now   atomic.Pointer[http.Handler]
	asked atomic.Int64
}

func deploy(h http.Handler) *deployed {
	d := &deployed{}
	d.now.Store(&h)
	return d
}

func (d *deployed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/grpc.reflection.") {
		d.asked.Add(1)
	}
	(*d.now.Load()).ServeHTTP(w, r)
}

// healthServer has no service but health.
func healthServer() http.Handler {
	s := grpc.NewServer()
	healthgrpc.RegisterHealthServer(s, health.NewServer())
	reflection.Register(s)
	return s
}

// post makes a unary Connect call of a gateway under a server of the test's own.
func post(g *sluice.Gateway, method string) int {
	r := httptest.NewRequest("POST", method, strings.NewReader(""))
	r.Header.Set("Content-Type", "application/proto")
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w.Code
}

const emptyCall = "/grpc.testing.TestService/EmptyCall"

// TestSchemaUnknown: a service that is new is found by the first call to it.
func TestSchemaUnknown(t *testing.T) {
	server := testServer(t)
	synctest.Test(t, func(t *testing.T) {
		one, two := deploy(healthServer()), deploy(healthServer())
		g, err := sluice.New(sluice.Config{Backends: []sluice.Backend{{Handler: one}, {Handler: two}}})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		if code := post(g, emptyCall); code != 404 {
			t.Error("unknown service:", code)
		}
		var h http.Handler = server
		two.now.Store(&h)
		if code := post(g, emptyCall); code != 404 {
			t.Error("asked again at once:", code)
		}
		time.Sleep(6 * time.Second)
		if code := post(g, emptyCall); code != 200 {
			t.Error("new service:", code)
		}
		if one.asked.Load() != 2 || two.asked.Load() != 2 {
			t.Error("asked", one.asked.Load(), two.asked.Load())
		}
	})
}

// TestSchemaGiven: files say what a service is, and reflection which backend has it.
func TestSchemaGiven(t *testing.T) {
	server := testServer(t)
	synctest.Test(t, func(t *testing.T) {
		g, err := sluice.New(sluice.Config{Backends: []sluice.Backend{{Handler: healthServer()}, {Handler: server}}, DescriptorSets: [][]byte{testSet(t, 1)}})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		if code := post(g, emptyCall); code != 200 {
			t.Error(code)
		}
		time.Sleep(time.Second)                    // both have been asked
		if st := g.Status(); st.Methods != 1+3+2 { // as given, of health, and reflection itself in two versions
			t.Errorf("%d methods", st.Methods)
		}
	})
}

// TestSchemaStorm: clients that make names up cause no storm of questions.
func TestSchemaStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := deploy(healthServer()), deploy(healthServer())
		g, err := sluice.New(sluice.Config{Backends: []sluice.Backend{{Handler: one}, {Handler: two, Services: []string{"of.Two"}}}})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 500 {
					if code := post(g, "/made.Up/Name"); code != 404 {
						t.Error(code)
					}
					time.Sleep(200 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		for _, d := range []*deployed{one, two} {
			if n := d.asked.Load(); n < 3 || n > 6 { // at 0, 5, 15, 35, 75 seconds
				t.Errorf("asked %d times", n)
			}
		}
	})
}

// TestSchemaReconnect: who comes back may be another.
func TestSchemaReconnect(t *testing.T) {
	l := listen(t)
	addr := l.Addr().String()
	first := healthServer().(*grpc.Server)
	go first.Serve(l)
	_, g := startGateway(t, sluice.Config{Backends: []sluice.Backend{{Target: addr}}})
	services := func(want string) {
		t.Helper()
		var st sluice.Status
		for range 1000 {
			if st = g.Status(); strings.Join(st.Backends[0].Services, " ") == want {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("no %s: %+v", want, st)
	}
	services("grpc.health.v1.Health grpc.reflection.v1.ServerReflection grpc.reflection.v1alpha.ServerReflection")
	first.Stop()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skip("the port is taken:", err)
	}
	go testServer(t).Serve(l)
	services("grpc.reflection.v1.ServerReflection grpc.reflection.v1alpha.ServerReflection grpc.testing.TestService")
}

// testSet is a descriptor set with the interop service of so many methods.
func testSet(t *testing.T, methods int) []byte {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{}
	for _, name := range []string{"grpc/testing/empty.proto", "grpc/testing/messages.proto", "grpc/testing/test.proto"} {
		fd := testgrpc.File_grpc_testing_test_proto
		if name != fd.Path() {
			for i := range fd.Imports().Len() {
				if imp := fd.Imports().Get(i); imp.Path() == name {
					set.File = append(set.File, protodesc.ToFileDescriptorProto(imp))
				}
			}
			continue
		}
		f := protodesc.ToFileDescriptorProto(fd)
		f.Service = f.Service[:1]
		f.Service[0].Method = f.Service[0].Method[:methods]
		set.File = append(set.File, f)
	}
	b, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSetDescriptorSets(t *testing.T) {
	var log bytes.Buffer
	g, err := sluice.New(sluice.Config{Backends: []sluice.Backend{{Handler: testServer(t)}}, DescriptorSets: [][]byte{testSet(t, 1)},
		Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for i, step := range []struct {
		sets    [][]byte
		good    bool
		methods int
	}{
		{[][]byte{testSet(t, 3)}, true, 3},
		{[][]byte{[]byte("no set")}, false, 3},
		{nil, false, 3},
		{[][]byte{testSet(t, 2), testSet(t, 2)}, true, 2},
		{[][]byte{testSet(t, 2), testSet(t, 3)}, false, 2},
	} {
		if err := g.SetDescriptorSets(step.sets...); (err == nil) != step.good {
			t.Errorf("step %d: %v", i, err)
		}
		if st := g.Status(); st.Methods != step.methods || st.Backends[0].SchemaSource != "descriptors" {
			t.Errorf("step %d: %+v", i, st)
		}
	}
	if strings.Contains(log.String(), "WARN") {
		t.Error(&log)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(testSet(t, 1), &set); err != nil {
		t.Fatal(err)
	}
	set.File = set.File[len(set.File)-1:]
	set.File[0].Name = proto.String("alone.proto")
	set.File[0].Dependency = []string{"gone.proto"}
	b, err := proto.Marshal(&set)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.SetDescriptorSets(b); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "descriptors lack types that they use") || !strings.Contains(log.String(), "grpc.testing.Empty") {
		t.Error(&log)
	}
}
