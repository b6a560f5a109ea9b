package conformance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	root "github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/client"
	"github.com/sluice-rpc/sluice/client/webtransport"
	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
	"github.com/sluice-rpc/sluice/h3"
)

// TestChaos sends messages both ways in some calls while their connections are cut, by the client and by
// the network, carriers take turns at each reconnect, and uploads are aborted, before the gateway has them
// or after. No message is lost, doubled or out of order, and nothing is left. CHAOS is how many messages.
func TestChaos(t *testing.T) {
	t.Parallel()
	count := 5000
	if n, err := strconv.Atoi(os.Getenv("CHAOS")); err == nil {
		count = n
	}
	const calls = 4
	pprof.SetGoroutineLabels(pprof.WithLabels(t.Context(), pprof.Labels("test", t.Name()))) // what it starts has them too
	w := newChaos(t, nil)
	w.dial(t)
	start := time.Now()
	stop := make(chan struct{})
	var cutting, running sync.WaitGroup
	cutting.Add(2)
	go w.cut(stop, &cutting)
	go w.watch(stop, &cutting)
	for i := range calls {
		running.Add(1)
		go func() { // ends with its messages
			defer running.Done()
			if err := w.call(i, count/calls); err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		}()
	}
	running.Wait()
	close(stop)
	cutting.Wait()
	t.Logf("%d messages in %v; %d cuts by the client, %d by the network, %d connections, %d of %d uploads aborted; at most %d bytes buffered",
		count, time.Since(start).Round(time.Millisecond), w.cuts.Load(), w.network.Load(), w.connections(), w.aborted.Load(), w.uploads.Load(), w.buffered.Load())
	if n := w.connections() - 1; n < 30 {
		t.Errorf("%d connections were cut, want 30 at least", n)
	}
	w.mu.Lock()
	for _, name := range chaosCarriers {
		if w.seen[name.Name()] < 2 {
			t.Errorf("%s was used %d times", name.Name(), w.seen[name.Name()])
		}
	}
	w.mu.Unlock()
	if n := w.aborted.Load(); n == 0 {
		t.Error("no upload was aborted")
	}
	if n := w.buffered.Load(); n > calls*2<<20 {
		t.Errorf("%d bytes were buffered, want at most 2 MiB a call", n)
	}
	w.left(t)
	w.close(t)
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left := labelled(t)
		if len(left) == 1 { // this one
			return
		}
		if time.Now().After(until) {
			t.Fatalf("goroutines are left:\n%s", strings.Join(left, "\n\n"))
		}
	}
}

// labelled are the goroutines that have the test's label, those of one stack as one text.
func labelled(t *testing.T) []string {
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		t.Fatal(err)
	}
	all := strings.Split(b.String(), "\n\n")
	return slices.DeleteFunc(all, func(stack string) bool { return !strings.Contains(stack, fmt.Sprintf("%q:%q", "test", t.Name())) })
}

var chaosCarriers = []client.Carrier{
	client.WebSocket{}, client.Duplex{}, webtransport.Carrier{}, client.Duplex{Poll: true}, client.Duplex{Stream: true},
}

// A world is a backend that echoes, and a gateway before it, in this process.
type world struct {
	backend *grpc.Server
	gateway *root.Gateway
	cert    tls.Certificate // of what stands before the gateway, if it is not served itself
	roots   *x509.CertPool
	ended   sync.WaitGroup
}

func newWorld(t *testing.T) *world {
	t.Helper()
	certFile, keyFile, err := gateway.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{backend: grpc.NewServer(grpc.UnknownServiceHandler(echo)), roots: x509.NewCertPool()}
	if w.cert, err = tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	w.roots.AddCert(w.cert.Leaf)
	l := localListener(t)
	w.serve(func() { _ = w.backend.Serve(l) })
	w.gateway, err = root.New(root.Config{
		Backends: []root.Backend{{Target: l.Addr().String()}}, HTTP3: h3.New(h3.Config{}), DisableAccessLog: true, CORSOrigins: []string{"*"},
		Discovery: root.Discovery{CertificateHashes: func() [][sha256.Size]byte {
			return [][sha256.Size]byte{sha256.Sum256(w.cert.Leaf.Raw)}
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) tls() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{w.cert}} }

// serveQUIC serves HTTP/3 at an address, where nothing is heard if deaf is given.
func (w *world) serveQUIC(t *testing.T, addr net.Addr, deaf *hole) {
	t.Helper()
	udp, err := net.ListenPacket("udp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	if deaf != nil {
		deaf.PacketConn = udp
		udp = deaf
	}
	w.serve(func() { _ = w.gateway.ServeQUIC(udp, w.tls()) })
}

// A hole is a socket that takes packets and never answers, as behind a firewall that drops UDP.
type hole struct {
	net.PacketConn
	dropped atomic.Int64
}

func (h *hole) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		if _, addr, err := h.PacketConn.ReadFrom(b); err != nil {
			return 0, addr, err
		}
		h.dropped.Add(1)
	}
}

func (w *world) serve(f func()) {
	w.ended.Add(1)
	go func() { // ends with the server
		defer w.ended.Done()
		f()
	}()
}

func (w *world) gauge(name string) int64 {
	rec := httptest.NewRecorder()
	w.gateway.Metrics().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	_, after, _ := strings.Cut(rec.Body.String(), "\n"+name+" ")
	value, _, _ := strings.Cut(after, "\n")
	f, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return -1
	}
	return int64(f)
}

// left wants no calls at the gateway.
func (w *world) left(t *testing.T) {
	t.Helper()
	for until := time.Now().Add(75 * time.Second); ; time.Sleep(20 * time.Millisecond) { // an END whose acknowledgement was lost is kept for a minute
		kept, waiting, active := w.gauge("sluice_resumable_calls"), w.gauge("sluice_waiting_calls"), w.gateway.Status().ActiveCalls
		if kept == 0 && waiting == 0 && active == 0 {
			return
		}
		if time.Now().After(until) {
			t.Errorf("%d calls are kept, %d wait, %d are active", kept, waiting, active)
			return
		}
	}
}

func (w *world) close(t *testing.T) {
	t.Helper()
	if err := w.gateway.Close(); err != nil {
		t.Error(err)
	}
	w.backend.Stop()
	w.ended.Wait()
}

func localListener(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// chaos is a world behind a network of which one never knows. What goes over TCP goes through a proxy,
// QUIC has none.
type chaos struct {
	*world
	proxy     *httptest.Server
	client    *client.Client // or nil
	noUpgrade atomic.Bool    // refuse WebSockets

	cuts, network, uploads, aborted, buffered atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]struct{} // of the proxy's clients
	ids   map[int]bool          // of the client's connections
	seen  map[string]int
}

func newChaos(t *testing.T, deaf *hole) *chaos {
	t.Helper()
	w := &chaos{world: newWorld(t), conns: map[net.Conn]struct{}{}, ids: map[int]bool{}, seen: map[string]int{}}
	plain := localListener(t)
	w.serve(func() { _ = w.gateway.Serve(plain) })
	w.proxy = httptest.NewUnstartedServer(w.proxied("http://" + plain.Addr().String()))
	w.proxy.TLS = w.tls()
	w.proxy.EnableHTTP2 = true
	w.proxy.Config.ErrorLog = log.New(io.Discard, "", 0) // of connections that are cut
	w.proxy.Config.ConnState = w.connState
	w.proxy.StartTLS()
	w.serveQUIC(t, w.proxy.Listener.Addr(), deaf)
	return w
}

// dial makes the client.
func (w *chaos) dial(t *testing.T) {
	t.Helper()
	var err error
	w.client, err = client.New(w.proxy.URL, client.Config{Carriers: chaosCarriers, Alternate: true, TLS: &tls.Config{RootCAs: w.roots}, Trace: w.trace})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *chaos) connState(c net.Conn, s http.ConnState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch s {
	case http.StateNew:
		w.conns[c] = struct{}{}
	case http.StateClosed:
		delete(w.conns, c)
	}
}

// proxied passes requests on. Of uploads one in twenty is aborted, half of these when the gateway has
// had them.
func (w *chaos) proxied(target string) http.Handler {
	u, _ := url.Parse(target)
	proxy := httputil.NewSingleHostReverseProxy(u)
	proxy.FlushInterval = -1
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.noUpgrade.Load() && r.Header.Get("Upgrade") != "" {
			http.Error(rw, "no WebSockets here", http.StatusForbidden)
			return
		}
		if r.Method != http.MethodPost || r.ContentLength <= 0 {
			proxy.ServeHTTP(rw, r)
			return
		}
		w.uploads.Add(1)
		switch rand.IntN(40) {
		case 0:
		case 1:
			proxy.ServeHTTP(httptest.NewRecorder(), r)
		default:
			proxy.ServeHTTP(rw, r)
			return
		}
		w.aborted.Add(1)
		panic(http.ErrAbortHandler)
	})
}

// trace counts connections.
func (w *chaos) trace(f client.Frame) {
	if f.Kind != "WELCOME" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids[f.Connection] = true
	w.seen[f.Carrier]++
}

func (w *chaos) connections() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.ids)
}

// cut cuts connections, by the client or on the way.
func (w *chaos) cut(stop chan struct{}, done *sync.WaitGroup) {
	defer done.Done()
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(20+rand.IntN(100)) * time.Millisecond):
		}
		if rand.IntN(2) == 0 {
			w.cuts.Add(1)
			w.client.Cut()
			continue
		}
		w.cutNetwork()
	}
}

// cutNetwork closes all connections on the way.
func (w *chaos) cutNetwork() {
	w.mu.Lock()
	all := slices.Collect(maps.Keys(w.conns))
	clear(w.conns) // the server tells nothing of those that it has handed over to WebSockets
	w.mu.Unlock()
	for _, c := range all {
		w.network.Add(1)
		_ = c.Close()
	}
}

// watch looks at what the gateway keeps.
func (w *chaos) watch(stop chan struct{}, done *sync.WaitGroup) {
	defer done.Done()
	for {
		select {
		case <-stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		w.buffered.Store(max(w.buffered.Load(), w.gauge("sluice_buffered_bytes")))
	}
}

func (w *chaos) close(t *testing.T) {
	t.Helper()
	if w.client != nil {
		if err := w.client.Close(); err != nil {
			t.Error(err)
		}
	}
	w.proxy.CloseClientConnections()
	w.proxy.Close()
	w.world.close(t)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections() // of the proxy
}

// echo answers each message with itself.
func echo(_ any, s grpc.ServerStream) error {
	for {
		var m wrapperspb.BytesValue
		if err := s.RecvMsg(&m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.SendMsg(&m); err != nil {
			return err
		}
	}
}

// message is the nth of a call: its number, and bytes that tell what they are.
func message(call, n int) []byte {
	rnd := rand.New(rand.NewPCG(uint64(call), uint64(n)))
	size := 8 + rnd.IntN(500)
	if rnd.IntN(50) == 0 {
		size = rnd.IntN(200_000) + 8
	}
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(n + i)
	}
	binary.BigEndian.PutUint64(b, uint64(n))
	return b
}

// call sends messages, and wants each of them back, once and in order.
func (w *chaos) call(call, count int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute+time.Duration(count)*10*time.Millisecond)
	defer cancel()
	s, err := w.client.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/chaos.Service/Call", grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() { // ends with the messages, or the call
		for n := range count {
			if err := s.SendMsg(wrapperspb.Bytes(message(call, n))); err != nil {
				sent <- err
				return
			}
			if n%10 == 0 { // so that there is time for cuts
				time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
			}
		}
		sent <- s.CloseSend()
	}()
	for n := range count {
		var m wrapperspb.BytesValue
		if err := s.RecvMsg(&m); err != nil {
			return fmt.Errorf("message %d: %w", n, err)
		}
		if want := message(call, n); string(m.Value) != string(want) {
			got := -1
			if len(m.Value) >= 8 {
				got = int(binary.BigEndian.Uint64(m.Value))
			}
			return fmt.Errorf("message %d has the number %d and %d bytes, want %d bytes", n, got, len(m.Value), len(want))
		}
	}
	if err := s.RecvMsg(new(wrapperspb.BytesValue)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the last message: %w", err)
	}
	return <-sent
}
