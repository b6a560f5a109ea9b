package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sluice-rpc/sluice/internal/schema/schematest"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

// bin is where the programs of a run are built.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

var (
	buildMu sync.Mutex
	built   = map[string]string{}
)

// tool builds a program that go.mod pins, once.
func tool(t *testing.T, name, pkg string) string {
	t.Helper()
	buildMu.Lock()
	defer buildMu.Unlock()
	if path := built[name]; path != "" {
		return path
	}
	path, err := gateway.Build(".", bin, name, pkg)
	if err != nil {
		t.Fatal(err)
	}
	built[name] = path
	return path
}

// sluice is the command under test.
func sluice(t *testing.T) string {
	t.Helper()
	buildMu.Lock()
	defer buildMu.Unlock()
	if path := built["sluice"]; path != "" {
		return path
	}
	path, err := gateway.Command("..", bin)
	if err != nil {
		t.Fatal(err)
	}
	built["sluice"] = path
	return path
}

// schema compiles a .proto file to a descriptor set with all that it imports.
func schema(t *testing.T, importPath, file string) string {
	t.Helper()
	files, err := schematest.Files(importPath, file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(schematest.Set(files...))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "schema.binpb")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
