package docs

import (
	"os"
	"strings"
	"testing"
)

// The program in the README is the one in examples.
func TestReadmeProgram(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("../examples/embed/main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "<!-- examples/embed/main.go, compared by a test -->\n```go\n")
	shown, _, ok := strings.Cut(rest, "```\n")
	_, code, _ := strings.Cut(string(program), "package main\n") // the comment before it is not shown
	if !ok || shown != "package main\n"+code {
		t.Errorf("README.md shows\n%s\nbut examples/embed/main.go is\n%s", shown, code)
	}
}

// The policy in the guide is the one of the example, which runs.
func TestGuidePolicy(t *testing.T) {
	guide, err := os.ReadFile("guide.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(guide), "```go\nfunc ")
	shown, _, closed := strings.Cut(rest, "```\n")
	if !ok || !closed || !strings.Contains(string(example), "func "+shown) {
		t.Errorf("docs/guide.md shows a policy that is not in example_test.go:\n%s", shown)
	}
}
