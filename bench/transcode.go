package main

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-rpc/sluice/bench/orders"
	"github.com/sluice-rpc/sluice/internal/transcode"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

// A way is one way to turn the order's bytes into the other form.
type way struct {
	name  string
	reach float64 // how many times as fast as it Sluice should be; 0 is Sluice itself
	run   func() error
}

// ways are both directions, Sluice first.
func ways() (encode, decode []way, err error) {
	o := order()
	wire, err := proto.Marshal(o)
	if err != nil {
		return nil, nil, err
	}
	plan := transcode.NewTypes(protoregistry.GlobalFiles).Message(o.ProtoReflect().Descriptor())
	dynamic := dynamicpb.NewMessageType(o.ProtoReflect().Descriptor())
	var out []byte
	encode = []way{
		{"Sluice", 0, func() (err error) {
			out, err = plan.AppendJSON(out[:0], wire, &transcode.EncodeOptions{})
			return err
		}},
		{"dynamicpb, protojson", 12, func() error {
			m := dynamic.New().Interface()
			if err := proto.Unmarshal(wire, m); err != nil {
				return err
			}
			_, err := protojson.Marshal(m)
			return err
		}},
		{"generated code, protojson", 7, func() error {
			m := new(orders.Order)
			if err := proto.Unmarshal(wire, m); err != nil {
				return err
			}
			_, err := protojson.Marshal(m)
			return err
		}},
	}
	decode = []way{
		{"Sluice", 0, func() (err error) {
			out, err = plan.AppendWire(out[:0], orderJSON, &transcode.DecodeOptions{})
			return err
		}},
		{"dynamicpb, protojson", 9, func() error {
			m := dynamic.New().Interface()
			if err := protojson.Unmarshal(orderJSON, m); err != nil {
				return err
			}
			_, err := proto.Marshal(m)
			return err
		}},
		{"generated code, protojson", 5.5, func() error {
			m := new(orders.Order)
			if err := protojson.Unmarshal(orderJSON, m); err != nil {
				return err
			}
			_, err := proto.Marshal(m)
			return err
		}},
	}
	return encode, decode, nil
}

// transcode measures the transcoder in this process: the ways in turn, in each round.
func (o *options) transcode(*env) (string, error) {
	encode, decode, err := ways()
	if err != nil {
		return "", err
	}
	wire, err := proto.Marshal(order())
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n### transcode\n\nOne message of %d B as protobuf and %d B as JSON, in one process, one goroutine.\n", len(wire), len(orderJSON))
	for _, d := range []struct {
		what string
		ways []way
	}{{"protobuf to JSON", encode}, {"JSON to protobuf", decode}} {
		fmt.Fprintf(&b, "\n| %s | CPU µs | min–max | B | allocations | its CPU ÷ Sluice's | min–max | to reach |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n", d.what)
		cost := make([][]float64, len(d.ways))
		memory := make([][2]float64, len(d.ways))
		for range o.rounds {
			for i, w := range d.ways {
				us, bytes, allocs, err := inProcess(w.run, o.window/4)
				if err != nil {
					return "", fmt.Errorf("%s, %s: %w", d.what, w.name, err)
				}
				cost[i] = append(cost[i], us)
				memory[i] = [2]float64{bytes, allocs}
			}
		}
		for i, w := range d.ways {
			c := spreadOf(cost[i])
			fmt.Fprintf(&b, "| %s | %.1f | %.1f–%.1f | %.0f | %.0f |", w.name, c.median, c.min, c.max, memory[i][0], memory[i][1])
			if i == 0 {
				b.WriteString(" | | |\n")
				continue
			}
			ratios := make([]float64, o.rounds)
			for j := range ratios {
				ratios[j] = cost[i][j] / cost[0][j]
			}
			r := spreadOf(ratios)
			word := "reached"
			if r.median < w.reach {
				word = "**missed**"
			}
			fmt.Fprintf(&b, " %.1f | %.1f–%.1f | ≥ %.1f: %s |\n", r.median, r.min, r.max, w.reach, word)
		}
	}
	return b.String(), nil
}

// inProcess runs f again and again for a while, and returns what one run costs: CPU time
// of the whole process, so that garbage collection counts, and memory.
func inProcess(f func() error, window time.Duration) (us, bytes, allocs float64, err error) {
	for range 100 { // warm
		if err := f(); err != nil {
			return 0, 0, 0, err
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begun, cpu, n := time.Now(), processCPU(), 0
	for time.Since(begun) < window {
		for range 100 {
			if err := f(); err != nil {
				return 0, 0, 0, err
			}
		}
		n += 100
	}
	cpu = processCPU() - cpu
	runtime.ReadMemStats(&after)
	per := func(v uint64) float64 { return math.Round(float64(v) / float64(n)) }
	return float64(cpu) / float64(time.Microsecond) / float64(n), per(after.TotalAlloc - before.TotalAlloc), per(after.Mallocs - before.Mallocs), nil
}

// processCPU is the CPU time that this process has used.
func processCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // can't fail for oneself
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
