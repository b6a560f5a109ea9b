package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	code      = regexp.MustCompile("`([^`]+)`")
	testNamed = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// The tests that docs/rest.md names for each point exist.
func TestRESTPoints(t *testing.T) {
	page, err := os.ReadFile("rest.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "| | wanted | here | test |\n")
	tests := map[string]map[string]bool{}
	points := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 6 || strings.HasPrefix(cells[1], " ---") {
			continue
		}
		points++
		dir := ""
		for _, m := range code.FindAllStringSubmatch(cells[4], -1) {
			if name := m[1]; !strings.HasPrefix(name, "Test") {
				dir = name
				continue
			} else if tests[dir] == nil {
				tests[dir] = testsIn(t, filepath.Join("..", dir))
			}
			if !tests[dir][m[1]] {
				t.Errorf("point %s names %s in %s, which does not exist", strings.TrimSpace(cells[1]), m[1], dir)
			}
		}
		if dir == "" {
			t.Errorf("no test in %q", line)
		}
	}
	if points < 24 {
		t.Errorf("%d points only", points)
	}
}

func testsIn(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no tests: %v", dir, err)
	}
	names := map[string]bool{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testNamed.FindAllStringSubmatch(string(b), -1) {
			names[m[1]] = true
		}
	}
	return names
}
