package command

import (
	"testing"
	"time"
)

func TestTrim(t *testing.T) {
	now := time.Unix(1000, 0)
	const mib = 1 << 20
	for _, test := range []struct {
		name                  string
		fresh, live, resident uint64
		after                 time.Duration
		want                  bool
	}{
		{"a burst is over", 0, 100 * mib, 200 * mib, time.Hour, true},
		{"busy", 100 * mib, 100 * mib, 200 * mib, time.Hour, false},
		{"nothing to gain", mib, 100 * mib, 110 * mib, time.Hour, false},
		{"small", mib, 4 * mib, 12 * mib, time.Hour, false},
		{"done lately", 0, 100 * mib, 200 * mib, time.Second, false},
	} {
		m := newMemory()
		m.trimmed = now
		if got := m.worth(now.Add(test.after), test.fresh, test.live, test.resident); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
	m := newMemory()
	m.trim(now)
	if m.allocated == 0 {
		t.Error("the runtime's metrics have other names")
	}
}
