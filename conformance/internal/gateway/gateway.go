// Package gateway runs the sluice command, and the other programs that judge it, as
// child processes.
package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Process is a child with its output.
type Process struct {
	Name string
	Cmd  *exec.Cmd

	done chan struct{}
	err  error

	mu  sync.Mutex
	out []byte
}

// keep is how much output is kept, the end of it: an access log can be long.
const keep = 64 << 10

// Write keeps the end of what the child writes.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out = append(p.out, b...); len(p.out) > 2*keep {
		p.out = append(p.out[:0], p.out[len(p.out)-keep:]...)
	}
	return len(b), nil
}

// Output is the end of what the child wrote.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.out)
}

// Start runs a command. Its output is kept, or goes to stdout and stderr if given.
func Start(name string, stdin io.Reader, stdout io.Writer, command string, args ...string) (*Process, error) {
	p := &Process{Name: name, Cmd: exec.Command(command, args...), done: make(chan struct{})}
	p.Cmd.Stdin, p.Cmd.Stdout, p.Cmd.Stderr = stdin, p, p
	if stdout != nil {
		p.Cmd.Stdout = stdout
	}
	p.Cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // never outlives the test
	if err := p.Cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go p.wait() // ends with the child
	return p, nil
}

func (p *Process) wait() {
	p.err = p.Cmd.Wait()
	close(p.done)
}

// Done is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop ends the child: politely, then not.
func (p *Process) Stop() {
	_ = p.Cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(2 * time.Second):
		_ = p.Cmd.Process.Kill()
		<-p.done
	}
}

// errEnded means that a child ended before it was ready.
var errEnded = errors.New("ended early")

// Listening waits until the child listens at addr.
func (p *Process) Listening(addr string) error {
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.done:
			return fmt.Errorf("%s %w: %w\n%s", p.Name, errEnded, p.err, p.Output())
		default:
		}
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			return c.Close()
		}
	}
	return fmt.Errorf("%s does not listen at %s\n%s", p.Name, addr, p.Output())
}

// FreeAddr finds an address that nothing uses. Something else may take it before it is
// used: who starts a server with it tries again. It is below the ports that systems give to connections by
// themselves, of which tests make many.
func FreeAddr() (addr string, err error) {
	const first, last = 10_000, 32_000
	for range 100 {
		addr = fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(last-first))
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", err
}

// A Gateway is a running sluice serve.
type Gateway struct {
	*Process
	Addr    string // without TLS
	TLSAddr string // empty without a certificate
	Admin   string
}

// Options of a Gateway.
type Options struct {
	Command  string // path of sluice
	Cert     string // PEM files; no TLS without
	Key      string
	ClientCA string
	Demo     bool     // sluice demo instead of serve
	Args     []string // more flags and the backends
}

// Serve starts sluice serve and waits until it takes calls.
func Serve(o Options) (*Gateway, error) {
	for try := 0; ; try++ {
		g, err := serve(o)
		if err == nil || try == 2 || !errors.Is(err, errEnded) {
			return g, err
		}
	}
}

func serve(o Options) (*Gateway, error) {
	g := new(Gateway)
	for _, a := range []*string{&g.Addr, &g.TLSAddr, &g.Admin} {
		var err error
		if *a, err = FreeAddr(); err != nil {
			return nil, err
		}
	}
	verb := "serve"
	if o.Demo {
		verb = "demo"
	}
	args := []string{verb, "--listen", g.Addr, "--admin", g.Admin}
	if o.Cert == "" {
		g.TLSAddr = ""
	} else {
		args = append(args, "--tls-listen", g.TLSAddr, "--tls-cert", o.Cert, "--tls-key", o.Key)
	}
	if o.ClientCA != "" {
		args = append(args, "--tls-client-ca", o.ClientCA)
	}
	var err error
	if g.Process, err = Start("sluice", nil, nil, o.Command, append(args, o.Args...)...); err != nil {
		return nil, err
	}
	if err = g.Listening(g.Addr); err == nil && g.TLSAddr != "" {
		err = g.Listening(g.TLSAddr)
	}
	if err == nil {
		err = g.ready()
	}
	if err != nil {
		g.Stop()
		return nil, err
	}
	return g, nil
}

// ready waits until the gateway says that it has its backends.
func (g *Gateway) ready() error {
	var last error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		resp, err := http.Get("http://" + g.Admin + "/readyz")
		if err != nil {
			last = err
			continue
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		last = fmt.Errorf("readyz: %s: %s", resp.Status, b)
	}
	return fmt.Errorf("%w\n%s", last, g.Output())
}

// Build builds a package of the module at dir into bin and returns the executable.
func Build(dir, bin, name, pkg string) (string, error) {
	out := filepath.Join(bin, name)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "go", "build", "-o", out, pkg)
	c.Dir = dir
	var buf bytes.Buffer
	c.Stdout, c.Stderr = &buf, &buf
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, strings.TrimSpace(buf.String()))
	}
	return out, nil
}

// Command returns the sluice command: the one that SLUICE names, or root's, built.
func Command(root, bin string) (string, error) {
	if path := os.Getenv("SLUICE"); path != "" {
		return filepath.Abs(path)
	}
	return Build(root, bin, "sluice", "./cmd/sluice")
}
