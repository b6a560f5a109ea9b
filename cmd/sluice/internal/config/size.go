package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// units of sizes, in any case. A letter alone is binary, as operators are used to from nginx and
// HAProxy.
var units = []struct {
	names []string // the first is how it is printed
	bytes int
}{
	{[]string{"GiB", "G"}, 1 << 30},
	{[]string{"MiB", "M"}, 1 << 20},
	{[]string{"KiB", "K"}, 1 << 10},
	{[]string{"GB"}, 1e9},
	{[]string{"MB"}, 1e6},
	{[]string{"kB"}, 1e3},
	{[]string{"B"}, 1},
}

// ParseSize reads "4MiB", "64k", "1500" or "10MB".
func ParseSize(s string) (int, error) {
	i := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if i < 0 {
		i = len(s)
	}
	digits, unit, factor := s[:i], strings.TrimPrefix(s[i:], " "), 1
	if unit != "" {
		factor = 0
		for _, u := range units {
			if slices.ContainsFunc(u.names, func(name string) bool { return strings.EqualFold(name, unit) }) {
				factor = u.bytes
			}
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || factor == 0 {
		return 0, fmt.Errorf("%q is not a size: write a number and KiB, MiB or GiB, as in 4MiB", s)
	}
	if n > uint64(math.MaxInt/factor) {
		return 0, fmt.Errorf("%q is too large", s)
	}
	return int(n) * factor, nil
}

// FormatSize writes a size with the largest binary unit that keeps it whole.
func FormatSize(n int) string {
	for _, u := range units[:3] {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.Itoa(n/u.bytes) + u.names[0]
		}
	}
	return strconv.Itoa(n)
}

func size(p *int) Value {
	return value{"size", func(s string) error {
		n, err := ParseSize(s)
		switch {
		case err != nil:
			return err
		case n == 0:
			return fmt.Errorf("%q is not a limit: give a size above 0", s)
		}
		*p = n
		return nil
	}, func() string {
		if *p == 0 {
			return "auto"
		}
		return FormatSize(*p)
	}}
}
