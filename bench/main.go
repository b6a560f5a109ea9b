package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	if err := serveOrRun(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func serveOrRun(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve-echo":
		return serveEcho(args[1])
	case len(args) == 6 && args[0] == "serve-grpc":
		return serveGRPC(args[1], args[2], args[3], args[4], args[5])
	case len(args) == 6 && args[0] == "serve-reverse":
		return serveReverse(args[1], args[2], args[3], args[4], args[5])
	case len(args) == 6 && args[0] == "serve-bridge":
		return serveBridge(args[1], args[2], args[3], args[4], args[5])
	case len(args) == 6 && args[0] == "serve-gateway":
		return serveGateway(args[1], args[2], args[3], args[4], args[5])
	}
	return bench(args)
}

type options struct {
	rows, peers    string
	rounds         int
	threads        int
	settle, window time.Duration
	sluice         string
	quick          bool
	keep           bool
}

func bench(args []string) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.rows, "rows", "", "rows to measure, by comma; default all")
	flags.StringVar(&o.peers, "peers", "", "peers to measure, or parts of pipes and idle-pipes, by comma; default all that a row has")
	flags.IntVar(&o.rounds, "rounds", 7, "rounds; each measures every peer once")
	flags.IntVar(&o.threads, "threads", 2, "threads of each proxy")
	flags.DurationVar(&o.settle, "settle", 500*time.Millisecond, "how long a load runs before it is measured")
	flags.DurationVar(&o.window, "window", 3*time.Second, "how long it is measured")
	flags.StringVar(&o.sluice, "sluice", "", "the sluice command; default: built from this repository")
	flags.BoolVar(&o.quick, "quick", false, "Sluice and HAProxy, unary-8x16, half a minute")
	flags.BoolVar(&o.keep, "keep", false, "keep the directory with logs")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.quick {
		def := func(p *string, v string) {
			if *p == "" {
				*p = v
			}
		}
		def(&o.rows, "unary-8x16")
		def(&o.peers, "sluice,haproxy")
		o.rounds, o.settle, o.window = 5, 300*time.Millisecond, 1500*time.Millisecond
	}
	dir, err := os.MkdirTemp("", "sluice-bench")
	if err != nil {
		return err
	}
	if o.keep {
		fmt.Println("logs are in", dir)
	} else {
		defer os.RemoveAll(dir) //nolint:errcheck // it only ends
	}
	return o.run(dir)
}

func (o *options) run(dir string) error {
	e := &env{dir: dir, threads: o.threads, sluice: o.sluice}
	var err error
	if e.self, err = os.Executable(); err != nil {
		return err
	}
	if err := e.certificate(); err != nil {
		return err
	}
	if err := e.writeRules(); err != nil {
		return err
	}
	if e.backend, err = freeAddr(); err != nil {
		return err
	}
	echo, err := start(dir, "echo", nil, e.self, "serve-echo", e.backend)
	if err != nil {
		return err
	}
	defer echo.stop()
	if err := echo.ready(e.backend); err != nil {
		return err
	}
	selected, err := o.selectRows()
	if err != nil {
		return err
	}
	peers := map[string]*peer{}
	defer func() {
		for _, p := range peers {
			p.process.stop()
		}
	}()
	fmt.Printf("Machine: %s. Load, proxy and server share it; %d threads for each proxy, %d rounds of %v.\n", machine(), o.threads, o.rounds, o.window)
	for _, r := range selected {
		names := o.selectPeers(r)
		for _, name := range names {
			if peers[name] != nil {
				continue
			}
			if name == "sluice" && e.sluice == "" {
				if e.sluice, err = buildSluice(dir); err != nil {
					return err
				}
			}
			p, err := e.startPeer(name)
			if err != nil {
				return err
			}
			peers[name] = p
		}
		results := map[string][]figure{}
		for range o.rounds {
			for _, name := range names {
				f, err := measure(r, peers[name], o.settle, o.window)
				if err != nil {
					return fmt.Errorf("%w\n%s", err, tailOf(peers[name]))
				}
				results[name] = append(results[name], f)
			}
		}
		fmt.Print(table(r, names, results))
	}
	return o.special(e)
}

// specials are the rows that are no calls through each peer.
var specials = []string{"transcode", "slow-readers", "idle", "pipes", "idle-pipes", "resumption"}

func (o *options) special(e *env) error {
	for i, run := range []func(*env) (string, error){o.transcode, o.slow, o.idle, o.pipes, o.idlePipes, o.resumption} {
		name := specials[i]
		if o.rows != "" && !slices.Contains(strings.Split(o.rows, ","), name) || o.quick {
			continue
		}
		if e.sluice == "" {
			var err error
			if e.sluice, err = buildSluice(e.dir); err != nil {
				return err
			}
		}
		text, err := run(e)
		if err != nil {
			return err
		}
		fmt.Print(text)
	}
	return nil
}

func tailOf(p *peer) string {
	if p.process == nil {
		return ""
	}
	return p.process.tail()
}

func (o *options) selectRows() ([]row, error) {
	if o.rows == "" {
		return rows, nil
	}
	var out []row
	for name := range strings.SplitSeq(o.rows, ",") {
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
		if slices.Contains(specials, name) {
			continue
		}
		if i < 0 {
			return nil, fmt.Errorf("no row %q", name)
		}
		out = append(out, rows[i])
	}
	return out, nil
}

func (o *options) selectPeers(r row) []string {
	if o.peers == "" {
		return r.peers
	}
	var out []string
	for name := range strings.SplitSeq(o.peers, ",") {
		if slices.Contains(r.peers, name) || name == "direct" {
			out = append(out, name)
		}
	}
	return out
}

// selected says whether a part of a special row is to be measured.
func (o *options) selected(name string) bool {
	return o.peers == "" || slices.Contains(strings.Split(o.peers, ","), name)
}

// buildSluice builds the command of the repository that this directory is in.
func buildSluice(dir string) (string, error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return "", err
	}
	if !fileExists(filepath.Join(root, "cmd", "sluice")) {
		return "", errors.New("run this in the directory bench of the repository, or give -sluice")
	}
	bin := filepath.Join(dir, "sluice")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	return bin, run(ctx, root, nil, "go", "build", "-o", bin, "./cmd/sluice")
}

// machine names processor, cores and kernel.
func machine() string {
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.SplitSeq(string(b), "\n") {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%s, %d cores, Linux %s, %s", model, runtime.NumCPU(), strings.TrimSpace(string(kernel)), runtime.Version())
}
