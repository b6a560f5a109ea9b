package transcode

import "strconv"

// time appends a Timestamp or a Duration.
func (e *encoder) time(m *Message, p parts) (int, error) {
	var seconds int64
	var nanos int32
	c := e.cursor(m, p)
	for {
		more, err := c.step()
		if err != nil {
			return 0, err
		}
		if !more {
			break
		}
		x, _ := e.varint(c.value, c.end)
		if c.f.number == 1 {
			seconds = int64(x)
		} else {
			nanos = int32(x)
		}
	}
	var ok bool
	if m.wkt == wktTimestamp {
		e.out, ok = appendTimestamp(e.out, seconds, nanos)
	} else {
		e.out, ok = appendDuration(e.out, seconds, nanos)
	}
	if !ok {
		return 0, wireError(m, nil, fault("it is out of range: "+
			strconv.FormatInt(seconds, 10)+" s, "+strconv.Itoa(int(nanos))+" ns"))
	}
	return c.i, nil
}

// appendTimestamp appends a time as RFC 3339 has it, in UTC, of the years 1 to 9999.
func appendTimestamp(out []byte, seconds int64, nanos int32) ([]byte, bool) {
	const first, last = -62135596800, 253402300799
	if seconds < first || seconds > last || nanos < 0 || nanos > 999999999 {
		return out, false
	}
	// Days are counted in 400 years from the first of March of the year 0, so that
	// the leap day is the last of its year: http://howardhinnant.github.io/date_algorithms.html
	const toMarch0 = 719468
	sinceMarch0 := uint64(seconds + toMarch0*86400)
	days, second := sinceMarch0/86400, sinceMarch0%86400
	era, day := days/146097, days%146097
	year := (day - day/1460 + day/36524 - day/146096) / 365
	day -= 365*year + year/4 - year/100
	month := (5*day + 2) / 153
	day -= (153*month + 2) / 5
	year += era * 400
	month += 3
	if month > 12 {
		month -= 12
		year++
	}
	out = append(out, '"')
	out = append2(append2(out, year/100), year%100)
	out = append2(append(out, '-'), month)
	out = append2(append(out, '-'), day+1)
	out = append2(append(out, 'T'), second/3600)
	out = append2(append(out, ':'), second/60%60)
	out = append2(append(out, ':'), second%60)
	return append(appendNanos(out, uint64(nanos)), 'Z', '"'), true
}

// append2 appends two digits.
func append2(out []byte, n uint64) []byte {
	return append(out, byte('0'+n/10), byte('0'+n%10))
}

// appendNanos appends a point and 3, 6 or 9 digits, or nothing.
func appendNanos(out []byte, nanos uint64) []byte {
	if nanos == 0 {
		return out
	}
	digits := 9
	for nanos%1000 == 0 {
		nanos /= 1000
		digits -= 3
	}
	out = append(out, ".000000000"[:1+digits]...)
	for i := len(out) - 1; nanos > 0; i-- {
		out[i] = byte('0' + nanos%10)
		nanos /= 10
	}
	return out
}

// appendDuration appends a duration in seconds, of up to 10,000 years.
func appendDuration(out []byte, seconds int64, nanos int32) ([]byte, bool) {
	const most = 315576000000
	if seconds < -most || seconds > most || nanos < -999999999 || nanos > 999999999 ||
		seconds > 0 && nanos < 0 || seconds < 0 && nanos > 0 {
		return out, false
	}
	out = append(out, '"')
	if seconds < 0 || nanos < 0 {
		out = append(out, '-')
		seconds, nanos = -seconds, -nanos
	}
	out = strconv.AppendInt(out, seconds, 10)
	return append(appendNanos(out, uint64(nanos)), 's', '"'), true
}
