package conformance

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-rpc/sluice/conformance/internal/attack"
	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

var update = flag.Bool("update", false, "write docs/floods.md")

// What a flood may cost.
const (
	maxGrowth   = 64 << 20               // resident memory, over the value before
	streamLimit = 250                    // calls at a time, times the attacker's connections
	slack       = 8                      // goroutines and descriptors: connections to backends come and go
	settle      = 10 * time.Second       // until everything of the attacker is gone
	quiet       = 400 * time.Millisecond // the victim alone
)

// period is a time that an environment variable may make longer.
func period(t *testing.T, name string, d time.Duration) time.Duration {
	if v := os.Getenv(name); v != "" {
		var err error
		if d, err = time.ParseDuration(v); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return d
}

// A scene is a gateway with default limits, and what stands around it.
type scene struct {
	*gateway.Gateway
	backend      *attack.Backend
	zero, silent *attack.Miser
}

// backends starts what is behind the gateways.
func backends(t *testing.T) *scene {
	t.Helper()
	s := new(scene)
	var err error
	if s.backend, err = attack.NewBackend(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.backend.Stop)
	if s.zero, err = attack.NewMiser(0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.zero.Stop)
	if s.silent, err = attack.NewMiser(65535); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.silent.Stop)
	return s
}

// gateway starts a new gateway before the backends.
func (s *scene) gateway(t *testing.T, cert, key string) *scene {
	t.Helper()
	config := filepath.Join(t.TempDir(), "sluice.yaml")
	yaml := fmt.Sprintf("backends:\n  - {target: %q, services: [grpc.testing.TestService]}\n  - {target: %q, services: [%s]}\n  - {target: %q, services: [%s]}\n",
		s.backend.Addr, s.zero.Addr, attack.ZeroService, s.silent.Addr, attack.SilentService)
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := gateway.Serve(gateway.Options{Command: sluice(t), Cert: cert, Key: key, Args: []string{"--config", config}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	return &scene{g, s.backend, s.zero, s.silent}
}

func (s *scene) counts() []*attack.Count {
	return []*attack.Count{&s.backend.Calls, &s.zero.Calls, &s.silent.Calls}
}

// resident is VmRSS, in bytes.
func (s *scene) resident(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Cmd.Process.Pid))
	f := strings.Fields(string(b[bytes.Index(b, []byte("VmRSS:"))+1:]))
	if err != nil || len(f) < 2 {
		t.Errorf("VmRSS: %v", err)
		return 0
	}
	n, _ := strconv.ParseInt(f[1], 10, 64)
	return n << 10
}

// cpu is the processor time that the gateway has used.
func (s *scene) cpu(t *testing.T) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// metrics reads /metrics.
func (s *scene) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	resp, err := http.Get("http://" + s.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil && !strings.HasPrefix(line, "#") {
			out[name] = v
		}
	}
	return out
}

// leftovers are the numbers that have to come back to what they were.
func (s *scene) leftovers(t *testing.T) (goroutines, descriptors int) {
	t.Helper()
	m := s.metrics(t)
	g, ok1 := m["go_goroutines"]
	d, ok2 := m["process_open_fds"]
	if !ok1 || !ok2 {
		t.Fatal("/metrics lacks go_goroutines or process_open_fds")
	}
	return int(g), int(d)
}

var limitHit = regexp.MustCompile(`^sluice_limits_hit_total\{limit="(.*)"\}$`)

// limits names the limits that the gateway says were hit.
func (s *scene) limits(t *testing.T) string {
	t.Helper()
	var names []string
	for name := range s.metrics(t) {
		if m := limitHit.FindStringSubmatch(name); m != nil {
			names = append(names, m[1])
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// A victim makes unary calls on a connection of its own, one after another.
type victim struct {
	conn   *grpc.ClientConn
	client testpb.TestServiceClient
}

func newVictim(t *testing.T, addr string) *victim {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &victim{conn, testpb.NewTestServiceClient(conn)}
}

// warm makes ordinary use of the gateway before memory is measured: until then the
// collector of Go has not run, and every call adds to the heap, whoever makes it.
func (v *victim) warm() error {
	req := &testpb.StreamingOutputCallRequest{}
	for range 1000 {
		req.ResponseParameters = append(req.ResponseParameters, &testpb.ResponseParameters{Size: 64 << 10})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	call, err := v.client.StreamingOutputCall(ctx, req)
	for err == nil {
		_, err = call.Recv()
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// calls calls until the context ends. It returns what each took, sorted.
func (v *victim) calls(ctx context.Context) ([]time.Duration, error) {
	body := bytes.Repeat([]byte("v"), 100)
	var took []time.Duration
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		began := time.Now()
		resp, err := v.client.UnaryCall(one, &testpb.SimpleRequest{Payload: &testpb.Payload{Body: body}})
		cancel()
		if err != nil {
			return nil, fmt.Errorf("call %d: %w", len(took)+1, err)
		}
		if !bytes.Equal(resp.GetPayload().GetBody(), body) {
			return nil, fmt.Errorf("call %d: wrong answer", len(took)+1)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took, nil
}

func p99(sorted []time.Duration) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)*99/100]
}

// A row is what an attack came to.
type row struct {
	attack       attack.Attack
	log          *attack.Log
	growth       int64
	peak, total  int64
	cpu          [2]float64 // of one processor, in the quiet and during the attack
	calls        int
	quiet, flood time.Duration // p99
	limits       string
}

func (r *row) String() string {
	answer := r.log.Answers()
	if r.limits != "" {
		answer += " [" + r.limits + "]"
	}
	return fmt.Sprintf("| %s | %d | %d | %d | %.1f | %d | %.0f → %.0f | %.2f | %.2f | %.1f | %s |", r.attack.Name, r.attack.Conns, r.log.Conns(), r.log.Frames(),
		float64(r.growth)/(1<<20), r.peak, 100*r.cpu[0], 100*r.cpu[1], ms(r.quiet), ms(r.flood), float64(r.flood)/float64(r.quiet), answer)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// TestFloods attacks the gateway, each attack a new one with default limits. What it may
// cost is at the top of this file; besides, a victim on a connection of its own gets
// every answer.
//
// The victim's 99th percentile is measured too, before the attack and during it, and
// printed as a ratio: the aim is 3. No test fails for it, because attackers, gateway,
// victim and backend share the processors of the machine, whoever else uses it. For
// the same reason attackers rest three times as long as they write.
// FLOOD_TIME makes each attack longer.
func TestFloods(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	long := period(t, "FLOOD_TIME", time.Second)
	cert, key, err := gateway.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	behind := backends(t)
	var rows []string
	for _, a := range attack.All() {
		t.Run(strings.ReplaceAll(a.Name, " ", "_"), func(t *testing.T) {
			s := behind.gateway(t, cert, key)
			r := flood(t, s, a, long)
			rows = append(rows, r.String())
			t.Logf("p99 quiet %v during %v ratio %.1f, %d calls", r.quiet, r.flood, float64(r.flood)/float64(r.quiet), r.calls)
		})
	}
	table := head + strings.Join(rows, "\n") + "\n"
	t.Log("\n" + table)
	if *update && !t.Failed() {
		if err := os.WriteFile("../docs/floods.md", []byte(page(table, long)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// flood runs one attack.
func flood(t *testing.T, s *scene, a attack.Attack, long time.Duration) *row {
	defer func() {
		if t.Failed() {
			t.Log(s.Output())
		}
	}()
	v := newVictim(t, s.Addr)
	if err := v.warm(); err != nil {
		t.Fatalf("warming up: %v", err)
	}
	cpu, began := s.cpu(t), time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), quiet)
	before, err := v.calls(ctx)
	cancel()
	if err != nil {
		t.Fatalf("in the quiet: %v", err)
	}
	r := &row{attack: a, quiet: p99(before)}
	r.cpu[0] = (s.cpu(t) - cpu).Seconds() / time.Since(began).Seconds()
	goroutines, descriptors := s.leftovers(t)
	for _, c := range s.counts() {
		c.Reset()
	}
	rss := s.resident(t)
	cpu, began = s.cpu(t), time.Now()
	ctx, cancel = context.WithTimeout(context.Background(), long)
	defer cancel()
	attacked := make(chan struct{})
	go func() { // ends with the context
		defer close(attacked)
		r.log = a.Run(ctx, attack.Target{Addr: s.Addr, TLSAddr: s.TLSAddr})
	}()
	var top atomic.Int64
	watched := make(chan struct{})
	go func() { // ends with the context
		defer close(watched)
		for tick := time.NewTicker(50 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			if now := s.resident(t); now > top.Load() {
				top.Store(now)
			}
		}
	}()
	during, err := v.calls(ctx)
	if err != nil {
		t.Errorf("the victim: %v", err)
	}
	<-ctx.Done()
	<-watched
	<-attacked
	r.calls, r.flood = len(during), p99(during)
	r.cpu[1] = (s.cpu(t) - cpu).Seconds() / time.Since(began).Seconds()
	r.growth = top.Load() - rss
	if r.growth > maxGrowth {
		t.Errorf("resident memory grew by %d bytes from %d, at most %d are allowed", r.growth, rss, maxGrowth)
	}
	for _, c := range s.counts() {
		r.peak, r.total = r.peak+c.Peak.Load(), r.total+c.Total.Load()
	}
	most := int64(streamLimit * a.Conns)
	if a.Ends {
		most += most / 4 // the attacker may be back before the backend has heard of the end of its calls
	}
	if r.peak > most {
		t.Errorf("the backend saw %d calls at a time, at most %d are allowed", r.peak, most)
	}
	if r.log.Frames() == 0 || r.log.Saw("cannot connect") {
		t.Errorf("the attack did not take place: %d frames, %s", r.log.Frames(), r.log.Answers())
	}
	gone := false
	var g, d int
	var running int64
	for deadline := time.Now().Add(settle); !gone && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		g, d = s.leftovers(t)
		running = 0
		for _, c := range s.counts() {
			running += c.Running.Load()
		}
		gone = g <= goroutines+slack && d <= descriptors+slack && running == 0
	}
	if !gone {
		t.Errorf("%v after the attack there are %d goroutines (%d before), %d descriptors (%d before), %d calls at the backends",
			settle, g, goroutines, d, descriptors, running)
	}
	r.limits = s.limits(t)
	if a.Ends && !strings.Contains(r.limits, "conn_abuse") && !strings.Contains(r.limits, "header_bytes") {
		t.Errorf("the gateway did not end the connections with ENHANCE_YOUR_CALM; limits hit: %q", r.limits)
	}
	return r
}

const head = `| attack | at a time | connections | frames | memory, MiB | calls at the backend | gateway's CPU, % | p99 quiet, ms | p99, ms | ratio | answer [limits hit] |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
`

// page is docs/floods.md.
func page(table string, long time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Floods

What %ssluice serve%s with its [default limits](reference/limits.md) makes of the known ways to abuse HTTP/2, and of some for WebSockets, pipes, HTTP/3 and WebTransport. Made by
%sgo test -run TestFloods -update%s in %sconformance/%s, which %smake judges%s runs too; the attacks are in %sconformance/internal/attack%s.

Every attack lasts %v, on so many connections at a time; when the gateway closes one, the attacker opens the next. It must not
cost more than 64 MiB of resident memory (%sVmRSS%s every 50 ms, over the value before, which is that of a gateway that has had
something to do), nor bring more calls to the backend than the limit of streams (250) for each of the attacker's connections. A victim that makes calls on a connection of its own, one
after another, gets every answer. Attacks by frames have their connections ended with ENHANCE_YOUR_CALM, and their next ones wait; those by frames of WebSockets have theirs closed with 1008 or 1009. When the attacker is gone, so are its goroutines, its sockets and its calls. The test fails otherwise.

The victim's 99th percentile, before the attack and during it, is printed and no reason to fail. The aim is a ratio of 3. All of
attackers, victim, gateway and backend run on this machine, so the ratio holds their fight for its processors too;
attackers rest after every hundred frames, for three times as long as they have taken.
Where an attack brings calls or downloads to the backend ("reader that stops": 200 MB) the victim waits there too.

Measured on %s: %s.

`, "`", "`", "`", "`", "`", "`", "`", "`", "`", "`", long, "`", "`", time.Now().UTC().Format(time.DateOnly), machine())
	b.WriteString(table)
	b.WriteString("\nWhat waits for clients that don't read is 64 KiB a call at first, so 16 MiB a connection, and what windows have grown by, " +
		"8 MiB in all; the collector needs about the same again. More connections hold more, up to `limits.buffer_bytes` in all; " +
		"`timeouts.stall` ends them after a minute.\n")
	b.WriteString("\n## The attacks\n\n| attack | what each connection does |\n| --- | --- |\n")
	for _, a := range attack.All() {
		fmt.Fprintf(&b, "| %s | %s |\n", a.Name, a.What)
	}
	b.WriteString("\n## The reverse\n\nA bidi client that sends messages of 100 bytes as fast as it can, each in a DATA frame of its own, is never punished:\n" +
		"`TestHonest` runs it for some seconds, `make test-long` for ten minutes.\n")
	return b.String()
}

var model = regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`)

// machine names the machine.
func machine() string {
	name := runtime.GOARCH
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := model.FindSubmatch(b); m != nil {
			name = string(m[1])
		}
	}
	return fmt.Sprintf("%s, %d processors, %s, %s", name, runtime.NumCPU(), runtime.GOOS, runtime.Version())
}
