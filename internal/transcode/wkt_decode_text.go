package transcode

import (
	"bytes"
	"strconv"
	"time"
)

const (
	minTimestamp = -62135596800 // 0001-01-01T00:00:00Z
	maxTimestamp = 253402300799 // 9999-12-31T23:59:59Z
	maxDuration  = 315576000000
)

// parseTimestamp reads a time as RFC 3339 writes it.
func parseTimestamp(text []byte) (seconds int64, nanos int32, ok bool) {
	if seconds, nanos, ok = parseUTC(text); ok {
		return seconds, nanos, true
	}
	t, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil || t.Unix() < minTimestamp || t.Unix() > maxTimestamp {
		return 0, 0, false
	}
	// protojson refuses more than nine digits behind a point (and not behind a comma).
	point, zone := bytes.LastIndexByte(text, '.'), bytes.LastIndexAny(text, "Z-+")
	if point >= 0 && zone-point > len(".999999999") {
		return 0, 0, false
	}
	return t.Unix(), int32(t.Nanosecond()), true
}

// parseUTC reads the common form, "2006-01-02T15:04:05.999Z".
func parseUTC(b []byte) (seconds int64, nanos int32, ok bool) {
	if len(b) < len("2006-01-02T15:04:05Z") || len(b) > len("2006-01-02T15:04:05.999999999Z") ||
		b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' || b[len(b)-1] != 'Z' {
		return 0, 0, false
	}
	year := number2(b[0:])*100 + number2(b[2:])
	month, day := number2(b[5:]), number2(b[8:])
	hour, minute, second := number2(b[11:]), number2(b[14:]), number2(b[17:])
	if year < 1 || month < 1 || month > 12 || day < 1 || day > 28 || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59 {
		return 0, 0, false // or the end of a month, which is for time.Parse
	}
	if fraction := b[19 : len(b)-1]; len(fraction) > 0 {
		if nanos, ok = parseNanos(fraction); !ok || len(fraction) == 1 {
			return 0, 0, false
		}
	}
	// Days since the epoch; years begin in March, so that leap days end them.
	if month <= 2 {
		year, month = year-1, month+12
	}
	days := 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 719469
	return int64(days)*86400 + int64(hour*3600+minute*60+second), nanos, true
}

// number2 reads two digits. It is far below zero if they are none.
func number2(b []byte) int {
	if !digit(b[0]) || !digit(b[1]) {
		return -1 << 20
	}
	return int(b[0]-'0')*10 + int(b[1]-'0')
}

// parseNanos reads a point and at most nine digits.
func parseNanos(b []byte) (int32, bool) {
	if b[0] != '.' || len(b) > 10 {
		return 0, false
	}
	n := int32(0)
	for i := 1; i < 10; i++ {
		n *= 10
		if i < len(b) {
			if !digit(b[i]) {
				return 0, false
			}
			n += int32(b[i] - '0')
		}
	}
	return n, true
}

// parseDuration reads a decimal number of seconds and an s: "1s", "-1.5s", also ".5s",
// "1.s", "+1s" and, as protojson has it, ".s".
func parseDuration(text []byte) (seconds int64, nanos int32, ok bool) {
	n := len(text) - 1
	if n < 1 || text[n] != 's' {
		return 0, 0, false
	}
	b := text[:n]
	negative := b[0] == '-'
	if negative || b[0] == '+' {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, 0, false
	}
	integer, fraction := b, b[:0]
	if point := bytes.IndexByte(b, '.'); point >= 0 {
		integer, fraction = b[:point], b[point:]
	}
	if len(integer) > 1 && integer[0] == '0' || digits(integer, 0) != len(integer) || len(integer) > 12 {
		return 0, 0, false
	}
	if len(integer) > 0 {
		seconds, _ = strconv.ParseInt(string(integer), 10, 64)
	}
	if len(fraction) > 0 {
		if nanos, ok = parseNanos(fraction); !ok {
			return 0, 0, false
		}
	}
	if seconds > maxDuration {
		return 0, 0, false
	}
	if negative {
		seconds, nanos = -seconds, -nanos
	}
	return seconds, nanos, true
}

// maskPaths writes the paths of a FieldMask, which have commas between them. Loose are
// those in URLs, which people also write as the .proto file has them, and "*".
func (d *decoder) maskPaths(text []byte, loose bool) bool {
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return true
	}
	for rest := text; rest != nil; {
		path := rest
		if i := bytes.IndexByte(rest, ','); i >= 0 {
			path, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		d.tag(bytes1)
		length := d.openLength()
		written := bytes.IndexByte(path, '_') >= 0
		if written && !loose {
			return false
		}
		for _, c := range path {
			if 'A' <= c && c <= 'Z' && !written {
				d.out = append(d.out, '_')
				c += 'a' - 'A'
			}
			d.out = append(d.out, c)
		}
		if !validPath(d.out[length:]) && !(loose && string(path) == "*") {
			return false
		}
		d.closeLength(length)
	}
	return true
}

// validPath tells whether a path is of names with dots between them.
func validPath(path []byte) bool {
	for {
		dot := bytes.IndexByte(path, '.')
		if dot < 0 {
			return validName(path)
		}
		if !validName(path[:dot]) {
			return false
		}
		path = path[dot+1:]
	}
}

func validName(name []byte) bool {
	for i, c := range name {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || digit(c) && i > 0) {
			return false
		}
	}
	return len(name) > 0
}
