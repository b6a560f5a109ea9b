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
