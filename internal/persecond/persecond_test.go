package persecond

import (
	"testing"
	"time"
)

func TestCharge(t *testing.T) {
	const second = time.Second
	for _, test := range []struct {
		name  string
		most  int
		steps []struct {
			n    int
			at   time.Duration
			want bool
		}
	}{
		{"up to the bound", 2, []struct {
			n    int
			at   time.Duration
			want bool
		}{{1, 0, true}, {1, 1, true}, {1, second - 1, false}, {1, second, true}, {0, second, true}, {2, 2*second - 1, false}}},
		{"much at once", 2, []struct {
			n    int
			at   time.Duration
			want bool
		}{{3, 5, false}, {2, second + 5, true}}},
		{"no bound", 0, []struct {
			n    int
			at   time.Duration
			want bool
		}{{1000, 0, true}, {1000, 1, true}}},
		{"a clock that is set back", 1, []struct {
			n    int
			at   time.Duration
			want bool
		}{{1, 100 * second, true}, {1, 100*second + 1, false}, {1, 50 * second, true}, {1, 50*second + 1, false}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c Count
			for i, s := range test.steps {
				if got := c.Charge(s.n, test.most, s.at); got != s.want {
					t.Errorf("step %d: %v", i, got)
				}
			}
		})
	}
}
