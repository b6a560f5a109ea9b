package typo

import "testing"

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b  string
		limit int
		want  int
	}{
		{"", "", 3, 0},
		{"name", "name", 3, 0},
		{"name", "nam", 3, 1},
		{"name", "names", 3, 1},
		{"name", "nome", 3, 1},
		{"name", "nmae", 3, 1},
		{"ab", "ba", 3, 1},
		{"abcd", "badc", 3, 2},
		{"ca", "abc", 5, 3}, // what was swapped is not changed again
		{"kitten", "sitting", 5, 3},
		{"kitten", "sitting", 3, 3},
		{"kitten", "sitting", 2, 2},
		{"name", "nameless", 4, 4},
		{"", "abc", 5, 3},
		{"name", "name", 0, 0},
	} {
		if got := Distance(tt.a, tt.b, tt.limit); got != tt.want {
			t.Errorf("%q, %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := Distance(tt.b, tt.a, tt.limit); got != tt.want {
			t.Errorf("%q, %q: %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}
