package command

import (
	"testing"
	"time"
)

func TestTrim(t *testing.T) {
	now := time.Unix(1000, 0)
	const mib = 1 << 20
	for _, test := range []struct {
		name  string
		use   usage
		after time.Duration
		want  bool
	}{
		{"a burst is over", usage{objects: 150 * mib, live: 100 * mib, free: 50 * mib}, time.Hour, true},
		{"garbage alone", usage{objects: 120 * mib, live: 100 * mib}, time.Hour, true},
		{"free alone", usage{objects: 100 * mib, live: 100 * mib, free: 20 * mib}, time.Hour, true},
		{"busy", usage{fresh: 100 * mib, objects: 150 * mib, live: 100 * mib, free: 50 * mib}, time.Hour, false},
		{"nothing to gain", usage{fresh: mib, objects: 104 * mib, live: 100 * mib, free: 4 * mib}, time.Hour, false},
		{"small", usage{fresh: mib, objects: 5 * mib, live: 4 * mib, free: mib}, time.Hour, false},
		{"done lately", usage{objects: 150 * mib, live: 100 * mib, free: 50 * mib}, time.Second, false},
		{"the last one brought much", usage{objects: 100 * mib, live: 100 * mib, resident: 150 * mib}, time.Hour, true},
		{"the last one brought little", usage{objects: 100 * mib, live: 100 * mib, resident: 195 * mib}, time.Hour, false},
	} {
		m := newMemory()
		m.trimmed, m.resident = now, 200*mib
		if test.use.resident == 0 {
			test.use.resident = m.resident
		}
		if got := m.worth(now.Add(test.after), test.use); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
	m := newMemory()
	m.trim(now)
	if m.allocated == 0 {
		t.Error("the runtime's metrics have other names")
	}
}
