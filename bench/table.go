package main

import (
	"fmt"
	"slices"
	"strings"
)

// spread is the least, the median and the greatest of some figures.
type spread struct{ min, median, max float64 }

func spreadOf(v []float64) spread {
	v = slices.Sorted(slices.Values(v))
	if len(v) == 0 {
		return spread{}
	}
	return spread{v[0], v[len(v)/2], v[len(v)-1]}
}

// table writes a row's results as a Markdown table.
func table(r row, peers []string, results map[string][]figure) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n### %s\n\n%s.\n\n", r.name, r.what)
	fmt.Fprintf(&b, "| proxy | CPU µs/%s | min–max | %ss/s | mean µs | p50 µs | p99 µs | RSS MiB | Sluice's CPU ÷ its | min–max | to reach |\n", r.per, r.per)
	b.WriteString("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n")
	for _, name := range peers {
		figures := results[name]
		of := func(get func(figure) float64) spread {
			v := make([]float64, len(figures))
			for i, f := range figures {
				v[i] = get(f)
			}
			return spreadOf(v)
		}
		cpu := of(func(f figure) float64 { return f.cpu })
		fmt.Fprintf(&b, "| %s | %.1f | %.1f–%.1f | %.0f | %.0f | %.0f | %.0f | %.0f |", name, cpu.median, cpu.min, cpu.max,
			of(func(f figure) float64 { return f.throughput }).median, of(func(f figure) float64 { return f.mean }).median,
			of(func(f figure) float64 { return f.p50 }).median, of(func(f figure) float64 { return f.p99 }).median,
			of(func(f figure) float64 { return f.rss }).median)
		ratio := func(figure string) (spread, bool) {
			ours := results["sluice"]
			if name == "sluice" || len(ours) != len(figures) {
				return spread{}, false
			}
			var v []float64
			for i := range figures {
				if theirs := figures[i].get(figure); theirs > 0 {
					v = append(v, ours[i].get(figure)/theirs)
				}
			}
			return spreadOf(v), len(v) > 0
		}
		if s, ok := ratio("cpu"); ok {
			fmt.Fprintf(&b, " %.2f | %.2f–%.2f |", s.median, s.min, s.max)
		} else {
			b.WriteString(" | |")
		}
		if bar, ok := r.bars[name]; ok {
			if s, ok := ratio(bar.figure); ok {
				b.WriteString(" " + bar.verdict(s.median))
				if bar.figure != "cpu" {
					fmt.Fprintf(&b, " (%.2f, %.2f–%.2f)", s.median, s.min, s.max)
				}
			}
		}
		b.WriteString(" |\n")
	}
	return b.String()
}

func (b bar) verdict(got float64) string {
	sign, reached := "≥", got >= b.limit
	if b.atMost {
		sign, reached = "≤", got <= b.limit
	}
	word := "reached"
	if !reached {
		word = "**missed**"
	}
	return fmt.Sprintf("%s %s %.2f: %s", b.figure, sign, b.limit, word)
}
