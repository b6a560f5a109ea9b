// Package grpc holds gRPC's formats on HTTP as functions on bytes and strings: timeout,
// message, binary metadata, reserved names, status tables
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
package grpc

import (
	"strconv"
	"time"
)

// ParseTimeout reads a grpc-timeout value: at most eight digits and a unit. A timeout
// that is longer than a Duration can say is no timeout: infinite is set.
func ParseTimeout(s string) (d time.Duration, infinite, ok bool) {
	if len(s) < 2 || len(s) > 9 {
		return 0, false, false
	}
	var unit time.Duration
	switch s[len(s)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0, false, false
	}
	var n int64
	for i := range len(s) - 1 {
		if s[i] < '0' || s[i] > '9' {
			return 0, false, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	if n > int64(1<<63-1)/int64(unit) {
		return 0, true, true
	}
	return time.Duration(n) * unit, false, true
}

// maxTimeoutValue is the largest number of eight digits.
const maxTimeoutValue = 99999999

// AppendTimeout writes a timeout in the finest unit that holds it, rounded up so that
// what is left of a deadline is never nothing.
func AppendTimeout(b []byte, d time.Duration) []byte {
	if d <= 0 {
		return append(b, "1n"...)
	}
	for _, u := range [...]struct {
		unit time.Duration
		name byte
	}{{time.Microsecond, 'u'}, {time.Millisecond, 'm'}, {time.Second, 'S'}, {time.Minute, 'M'}, {time.Hour, 'H'}} {
		n := int64(d / u.unit)
		if d%u.unit != 0 {
			n++
		}
		if n <= maxTimeoutValue {
			return append(strconv.AppendInt(b, n, 10), u.name)
		}
	}
	return append(strconv.AppendInt(b, maxTimeoutValue, 10), 'H')
}
