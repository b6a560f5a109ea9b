package layers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/sluice-rpc/sluice"

// table gives each package of the module its layer. A name that ends in "/..." stands
// for all packages below it; the longest name that fits counts. A package imports only
// packages of a lower layer.
var table = map[string]int{
	"rpc":                0,
	"internal/exchange":  0, // rpc's sibling: the contract is in two packages, see inLayer
	"internal/typo":      0,
	"internal/persecond": 0,
	"internal/race":      0, // for tests only
	"internal/netio":     0, // docs/decisions/0002-netio-is-layer-0.md

	"internal/exchange/exchangetest": 1, // fakes, for tests only
	"internal/schema/schematest":     1, // the same

	"internal/wire/...":     1,
	"internal/h2":           1,
	"internal/blocking":     1,
	"internal/schema":       1,
	"internal/schema/route": 1,
	"internal/transcode":    1,
	"internal/compress":     1,

	"internal/protocol/...": 2,
	"internal/openapi":      2,

	"internal/carrier/...": 3,
	"internal/backend":     3,
	"internal/policy":      3,
	"internal/policy/...":  3,
	"internal/observe":     3,

	// Carriers that ride on other carriers.
	"internal/carrier/websocket": 4,
	"internal/carrier/mux":       4,
	"internal/carrier/duplex":    4,

	"":                         5, // the root: the public library
	"h3":                       6, // opt-in, plugged into the root
	"client":                   4, // beside what it talks to
	"client/...":               5, // carriers that link more
	"client/internal/quicdial": 4, // what they share
	"duplex":                   5, // public: pipes for programs without gRPC
	"cmd/sluice":               8,

	"cmd/sluice/internal/...":         6, // parts of the command
	"cmd/sluice/internal/demo/demopb": 5, // generated
	"cmd/sluice/internal/devtls":      5, // imports nothing of ours
	"cmd/sluice/internal/command":     7, // puts them together
	"internal/layers":                 0,
	"docs":                            0,
}

// inLayer are the imports within a layer that are allowed, each with its reason.
var inLayer = map[[2]string]string{
	{"internal/exchange", "rpc"}:                      "an exchange carries rpc.Metadata",
	{"internal/wire/grpcweb", "internal/wire/fields"}: "a trailer frame holds a field block",
	{"internal/schema", "internal/schema/route"}:      "rules have parsed templates; route itself knows no descriptors",
}

// forbidden is what a package must not link, not even through others.
var forbidden = map[string][]string{
	"":                  {"github.com/quic-go/", "google.golang.org/grpc", "github.com/bufbuild/"}, // who embeds Sluice builds none of them
	"client":            {"github.com/quic-go/"},
	"rpc":               {"golang.org/", "github.com/", "google.golang.org/"},
	"internal/exchange": {"golang.org/", "github.com/", "google.golang.org/"},
	"internal/netio":    {"golang.org/", "github.com/", "google.golang.org/"},
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// layerOf finds the row of a package.
func layerOf(name string) (int, bool) {
	if l, ok := table[name]; ok {
		return l, true
	}
	for prefix := name; ; {
		i := strings.LastIndexByte(prefix, '/')
		if i < 0 {
			return 0, false
		}
		prefix = prefix[:i]
		if l, ok := table[prefix+"/..."]; ok {
			return l, true
		}
	}
}

// violations says what is wrong with the imports of packages.
func violations(packages []goPackage) []string {
	var out []string
	for _, p := range packages {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		layer, ok := layerOf(name)
		if !ok {
			out = append(out, fmt.Sprintf("%s is in no layer: give it a row in internal/layers", name))
			continue
		}
		for _, imported := range p.Imports {
			rest, ours := strings.CutPrefix(imported, module)
			if !ours || rest != "" && rest[0] != '/' {
				continue
			}
			rest = strings.TrimPrefix(rest, "/")
			below, ok := layerOf(rest)
			if ok && below >= layer && inLayer[[2]string{name, rest}] == "" {
				out = append(out, fmt.Sprintf("%q (layer %d) imports %q (layer %d): imports point down", name, layer, rest, below))
			}
		}
		for _, prefix := range forbidden[name] {
			for _, dep := range p.Deps {
				if strings.HasPrefix(dep, prefix) && !strings.HasPrefix(dep, module) {
					out = append(out, fmt.Sprintf("%q links %s", name, dep))
				}
			}
		}
	}
	return out
}

func TestImports(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", module+"/...")
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var packages []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 5 {
		t.Fatalf("go list found %d packages", len(packages))
	}
	for _, v := range violations(packages) {
		t.Error(v)
	}
}

// TestViolations shows that the check can fail.
func TestViolations(t *testing.T) {
	for _, test := range []struct {
		name string
		p    goPackage
		want string
	}{
		{"down", goPackage{ImportPath: module + "/internal/h2", Imports: []string{module + "/rpc"}}, ""},
		{"up", goPackage{ImportPath: module + "/rpc", Imports: []string{module + "/internal/h2"}}, "imports point down"},
		{"same layer", goPackage{ImportPath: module + "/internal/h2", Imports: []string{module + "/internal/schema"}}, "imports point down"},
		{"the root from inside", goPackage{ImportPath: module + "/internal/h2", Imports: []string{module}}, "imports point down"},
		{"no row", goPackage{ImportPath: module + "/internal/util"}, "in no layer"},
		{"links grpc", goPackage{ImportPath: module, Deps: []string{"google.golang.org/grpc/codes"}}, "links"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := strings.Join(violations([]goPackage{test.p}), "\n")
			if (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
