package openapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/sluice-rpc/sluice/internal/schema/schematest"
	_ "google.golang.org/genproto/googleapis/analytics/admin/v1beta"
	_ "google.golang.org/genproto/googleapis/cloud/visionai/v1"
	_ "google.golang.org/genproto/googleapis/container/v1beta1"
	_ "google.golang.org/genproto/googleapis/storage/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/sluice-rpc/sluice/conformance/internal/gateway"
)

// apis are annotated APIs of Google, as their Go packages have them: files, and how many
// operations there are at least.
var apis = []struct {
	name, file string
	operations int
}{
	{"container", "google/container/v1beta1/cluster_service.proto", 60},
	{"visionai", "google/cloud/visionai/v1/platform.proto", 30},
	{"analytics", "google/analytics/admin/v1beta/analytics_admin.proto", 40},
	{"storage", "google/storage/v1/storage.proto", 10},
}

// TestDocuments: what sluice writes is valid by two validators, and by a third one with -tags libopenapi,
// and what is not, they refuse.
func TestDocuments(t *testing.T) {
	modules(t)
	dir, sluice := t.TempDir(), command(t)
	root := filepath.Join("..", "..")
	write := func(out string, args ...string) string {
		out = filepath.Join(dir, out)
		run(t, sluice, append([]string{"openapi", "-o", out}, args...)...)
		return out
	}
	shop := filepath.Join(root, "internal", "openapi", "testdata", "shop.proto")
	demo := filepath.Join(root, "cmd", "sluice", "internal", "demo", "demopb", "demo.proto")
	good := []string{
		write("shop.json", "--schema", shop, "--openapi-title", "The shop", "--openapi-server", "https://shop.example.com"),
		write("shop.yaml", "--schema", shop),
		write("demo.json", "--schema", demo),
		write("demo-naming.yaml", "--schema", demo, "--naming", "POST /api/{service:kebab}/{method:kebab}"),
	}
	for _, profile := range []string{"google", "grpc-gateway", "envoy", "meshapi"} {
		good = append(good, write("shop-"+profile+".json", "--schema", shop, "--profile", profile))
	}
	for _, api := range apis {
		out := write(api.name+".json", "--schema", descriptors(t, api.file))
		good = append(good, out)
		if n := operations(t, out); n < api.operations {
			t.Errorf("%s has %d operations, want at least %d", api.name, n, api.operations)
		} else {
			t.Logf("%s: %d operations", api.name, n)
		}
	}
	good = append(good, write("storage.yaml", "--schema", descriptors(t, "google/storage/v1/storage.proto")))
	for _, v := range judge(t, good) {
		if v.Count > 0 {
			t.Errorf("%s says of %s: %s", v.Validator, filepath.Base(v.File), strings.Join(v.Errors, "\n"))
		}
	}

	b, err := os.ReadFile(good[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"title":     {`"title": "The shop",`, ``},
		"parameter": {`"in": "path"`, `"in": "paths"`},
		"response":  {`"description": "OK",`, ``},
	} {
		bad := filepath.Join(dir, "bad-"+name+".json")
		changed := bytes.Replace(b, []byte(change[0]), []byte(change[1]), 1)
		if bytes.Equal(changed, b) {
			t.Fatalf("%s: there is no %s", name, change[0])
		}
		if err := os.WriteFile(bad, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, v := range judge(t, []string{bad}) {
			if v.Count == 0 {
				t.Errorf("%s does not see what is wrong with %s", v.Validator, filepath.Base(bad))
			}
		}
	}
}

type verdict struct {
	File, Validator string
	Errors          []string
	Count           int
}

// validators are those in Go: what they say of a file. libopenapi_test.go has one.
var validators = map[string]func(t *testing.T, file string) []string{}

// judge asks all validators about all files.
func judge(t *testing.T, files []string) (all []verdict) {
	t.Helper()
	out := run(t, "node", append([]string{"validate.js"}, files...)...)
	for line := range strings.Lines(out) {
		var v verdict
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, v)
	}
	if len(all) != 2*len(files) {
		t.Fatalf("%d verdicts on %d files", len(all), len(files))
	}
	for name, validate := range validators {
		for _, file := range files {
			errs := validate(t, file)
			all = append(all, verdict{File: file, Validator: name, Errors: errs, Count: len(errs)})
		}
	}
	return all
}

func operations(t *testing.T, file string) (n int) {
	var doc struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	for _, item := range doc.Paths {
		n += len(item)
	}
	return n
}

// TestSchemas: what protobuf writes as JSON fits the schemas of the messages.
func TestSchemas(t *testing.T) {
	sluice := command(t)
	dir := t.TempDir()
	shop := filepath.Join("..", "..", "internal", "openapi", "testdata", "shop.proto")
	checked := 0
	for _, source := range []struct {
		name, schema string
		file         protoreflect.FileDescriptor
	}{
		{"shop", shop, compile(t, shop)},
		{"container", descriptors(t, apis[0].file), registered(t, apis[0].file)},
	} {
		out := filepath.Join(dir, source.name+".json")
		run(t, sluice, "openapi", "-o", out, "--schema", source.schema)
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		c.AssertFormat() // of date-time
		if err := c.AddResource("mem:///doc.json", doc); err != nil {
			t.Fatal(err)
		}
		schemas := doc.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any)
		r := &randomizer{rand.New(rand.NewPCG(1, 2))}
		for i := range source.file.Messages().Len() {
			md := source.file.Messages().Get(i)
			if schemas[string(md.FullName())] == nil {
				continue // no method has it
			}
			s, err := c.Compile("mem:///doc.json#/components/schemas/" + string(md.FullName()))
			if err != nil {
				t.Fatal(err)
			}
			for range 50 {
				m := r.message(md, 0)
				text, err := protojson.Marshal(m)
				if err != nil {
					t.Fatal(err)
				}
				v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Validate(v); err != nil {
					t.Fatalf("%s: %v\n%s", md.FullName(), err, text)
				}
				checked++
			}
		}
		if s, err := c.Compile("mem:///doc.json#/components/schemas/shop.v1.Order"); source.name == "shop" {
			if err != nil {
				t.Fatal(err)
			}
			for _, bad := range []string{`[]`, `{"name": 1}`, `{"total": 1}`, `{"took": "1h"}`, `{"created": "today"}`, `{"view": "NONE"}`, `{"card": "x", "cash": {}}`,
				`{"byNumber": {"a": "b"}}`, `{"byBool": {"a": 1}}`, `{"items": {"a": {"sku": false}}}`, `{"hash": -1}`, `{"note": 1}`, `{"nothing": 0}`, `{"list": {}}`} {
				v, _ := jsonschema.UnmarshalJSON(strings.NewReader(bad))
				if s.Validate(v) == nil {
					t.Errorf("%s fits", bad)
				}
			}
		}
	}
	t.Logf("%d messages", checked)
	if checked < 3000 {
		t.Errorf("only %d messages", checked)
	}
}

// A randomizer makes messages whose fields are all there: JSON leaves out what is zero,
// even if field_behavior says REQUIRED.
type randomizer struct{ *rand.Rand }

const maxDepth = 5

func (r *randomizer) message(md protoreflect.MessageDescriptor, depth int) *dynamicpb.Message {
	m := dynamicpb.NewMessage(md)
	switch md.FullName() {
	case "google.protobuf.Timestamp":
		m.Set(md.Fields().ByName("seconds"), protoreflect.ValueOfInt64(r.Int64N(4e9)))
		m.Set(md.Fields().ByName("nanos"), protoreflect.ValueOfInt32(r.Int32N(1e9)))
		return m
	case "google.protobuf.Duration":
		m.Set(md.Fields().ByName("seconds"), protoreflect.ValueOfInt64(-r.Int64N(1e9)))
		m.Set(md.Fields().ByName("nanos"), protoreflect.ValueOfInt32(-r.Int32N(1e9)))
		return m
	case "google.protobuf.FieldMask":
		m.Mutable(md.Fields().ByName("paths")).List().Append(protoreflect.ValueOfString("a_b.c"))
		return m
	case "google.protobuf.Any", "google.protobuf.Struct", "google.protobuf.ListValue":
		return m
	case "google.protobuf.Value":
		m.Set(md.Fields().ByName("number_value"), protoreflect.ValueOfFloat64(1))
		return m
	}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		if od := fd.ContainingOneof(); od != nil && !od.IsSynthetic() && m.WhichOneof(od) != nil {
			continue
		}
		if od := fd.ContainingOneof(); od != nil && !od.IsSynthetic() && r.IntN(2) == 0 {
			continue
		}
		if fd.Message() != nil && depth >= maxDepth {
			continue
		}
		switch {
		case fd.IsMap():
			mm := m.Mutable(fd).Map()
			for range 1 + r.IntN(2) {
				mm.Set(r.value(fd.MapKey(), depth).MapKey(), r.value(fd.MapValue(), depth+1))
			}
		case fd.IsList():
			for range 1 + r.IntN(2) {
				m.Mutable(fd).List().Append(r.value(fd, depth))
			}
		default:
			m.Set(fd, r.value(fd, depth))
		}
	}
	return m
}

func (r *randomizer) value(fd protoreflect.FieldDescriptor, depth int) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(-1 - r.Int32())
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(1 + r.Uint32N(math.MaxUint32))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(-1 - r.Int64())
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(1 + r.Uint64N(math.MaxUint64))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(1 + r.Float32())
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(-1 - r.Float64())
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{0xff, byte(r.Uint32())})
	case protoreflect.EnumKind:
		values := fd.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(values.Len() - 1).Number())
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return protoreflect.ValueOfMessage(r.message(fd.Message(), depth+1))
	}
	return protoreflect.ValueOfString(fmt.Sprint("é", r.Uint32()))
}

// TestPage opens the page in Chromium: it shows the operations, and asks nobody else.
func TestPage(t *testing.T) {
	modules(t)
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v; make judges installs it", err)
	}
	g, err := gateway.Serve(gateway.Options{Command: command(t), Demo: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	t.Log(run(t, "node", "page.js", chromium, "http://"+g.Admin))
}

// compile compiles one file and what it imports from the Go packages that are linked.
func compile(t *testing.T, file string) protoreflect.FileDescriptor {
	t.Helper()
	files, err := schematest.Files(".", file)
	if err != nil {
		t.Fatal(err)
	}
	return files[0]
}

func registered(t *testing.T, file string) protoreflect.FileDescriptor {
	t.Helper()
	fd, err := protoregistry.GlobalFiles.FindFileByPath(file)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// descriptors writes the descriptor set of a file of a linked Go package.
func descriptors(t *testing.T, file string) string {
	t.Helper()
	b, err := proto.Marshal(schematest.Set(registered(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "set.binpb")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// command builds the command under test.
func command(t *testing.T) string {
	t.Helper()
	path, err := gateway.Command(filepath.Join("..", ".."), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs a program to its end and returns its output.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.WaitDelay = 5 * time.Second
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out, &stderr)
	}
	return string(out)
}

// modules installs what package-lock.json says, if that has changed since.
func modules(t *testing.T) {
	t.Helper()
	lock, err := os.Stat("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	// npm writes this file last.
	if done, err := os.Stat(filepath.Join("node_modules", ".package-lock.json")); err == nil && done.ModTime().After(lock.ModTime()) {
		return
	}
	run(t, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
}
