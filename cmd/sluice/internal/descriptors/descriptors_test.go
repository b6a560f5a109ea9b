package descriptors

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

const shop = `syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto";
import "google/api/httpbody.proto";
import "google/protobuf/timestamp.proto";
import "google/rpc/status.proto";
import "shop/v1/item.proto";

// The shop.
service Shop {
  // Get an item.
  rpc Get(GetRequest) returns (Item) {
    option (google.api.http) = {get: "/v1/{name=items/*}" additional_bindings {post: "/v1/items:get" body: "*"}};
  }
  rpc Picture(GetRequest) returns (google.api.HttpBody);
}
message GetRequest {
  string name = 1;
  google.protobuf.Timestamp at = 2;
  google.rpc.Status last = 3;
}
`

const item = `syntax = "proto3";
package shop.v1;
message Item { string name = 1; }
`

// dir writes files into a new directory and makes it the present one.
func dir(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		write(t, name, text)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// names are the files in sets, and the one with the service.
func names(t *testing.T, sets [][]byte) (all []string, service *descriptorpb.FileDescriptorProto) {
	t.Helper()
	for _, b := range sets {
		var set descriptorpb.FileDescriptorSet
		if err := proto.Unmarshal(b, &set); err != nil {
			t.Fatal(err)
		}
		for _, f := range set.File {
			all = append(all, f.GetName())
			if len(f.Service) > 0 {
				service = f
			}
		}
	}
	return all, service
}

func TestSources(t *testing.T) {
	dir(t, map[string]string{"proto/shop/v1/shop.proto": shop, "proto/shop/v1/item.proto": item, "more/other.proto": `syntax = "proto3"; import "shop/v1/item.proto";`})
	f := Files{Schema: []string{"proto/shop/v1/shop.proto", "more/other.proto"}, ProtoPaths: []string{"proto", "more"}}
	sets, seen, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	all, file := names(t, sets)
	for _, want := range []string{"shop/v1/shop.proto", "shop/v1/item.proto", "other.proto", "google/api/annotations.proto", "google/api/http.proto",
		"google/api/httpbody.proto", "google/rpc/status.proto", "google/protobuf/any.proto", "google/protobuf/timestamp.proto", "google/protobuf/descriptor.proto"} {
		if i := slices.Index(all, want); i < 0 || slices.Contains(all[i+1:], want) {
			t.Errorf("%s is not there once: %v", want, all)
		}
	}
	for _, want := range []string{"proto/shop/v1/shop.proto", "proto/shop/v1/item.proto", "more/other.proto"} {
		if seen[want] == "" {
			t.Errorf("%s is not watched: %v", want, seen)
		}
	}
	rule, _ := proto.GetExtension(file.Service[0].Method[0].Options, annotations.E_Http).(*annotations.HttpRule)
	if rule.GetGet() != "/v1/{name=items/*}" || len(rule.GetAdditionalBindings()) != 1 {
		t.Errorf("rule %v", rule)
	}
	if !strings.Contains(file.GetSourceCodeInfo().String(), "Get an item.") {
		t.Error("no comments")
	}
}

// TestSourcesWithoutPath: what needs no --proto-path.
func TestSourcesWithoutPath(t *testing.T) {
	plain := strings.Replace(shop, "shop/v1/item", "item", 1)
	dir(t, map[string]string{"a/shop.proto": plain, "a/item.proto": item, "b/shop.proto": strings.Replace(shop, "shop/v1/item", "a/item", 1)})
	for _, name := range []string{"a/shop.proto", "b/shop.proto"} {
		sets, _, err := Files{Schema: []string{name}}.Load()
		if err != nil {
			t.Error(err)
			continue
		}
		if _, file := names(t, sets); file.GetName() != name {
			t.Error(file.GetName())
		}
	}
	below, err := filepath.Abs("a/shop.proto")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("b")
	sets, _, err := Files{Schema: []string{below}}.Load()
	if err != nil {
		t.Fatal(err)
	}
	if _, file := names(t, sets); file.GetName() != "shop.proto" {
		t.Error(file.GetName())
	}
}

// TestSets: the forms of what compilers write.
func TestSets(t *testing.T) {
	dir(t, map[string]string{"shop/v1/shop.proto": shop, "shop/v1/item.proto": item})
	sets, _, err := Files{Schema: []string{"shop/v1/shop.proto"}}.Load()
	if err != nil {
		t.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(sets[0], &set); err != nil {
		t.Fatal(err)
	}
	text, err := protojson.Marshal(&set)
	if err != nil {
		t.Fatal(err)
	}
	// What buf adds to each file: buf.alpha.image.v1.ImageFile.buf_extension.
	for _, f := range set.File {
		f.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 8042, protowire.BytesType), []byte{8, 0}))
	}
	image, err := proto.Marshal(&set)
	if err != nil {
		t.Fatal(err)
	}
	write(t, "set.binpb", string(sets[0]))
	write(t, "image.binpb", string(image))
	write(t, "set.json", string(text))
	write(t, "image.json", strings.Replace(string(text), `"name":`, `"bufExtension":{"isImport":false},"name":`, 1))
	for _, name := range []string{"set.binpb", "image.binpb", "set.json", "image.json"} {
		sets, seen, err := Files{Schema: []string{name}}.Load()
		if err != nil {
			t.Error(err)
			continue
		}
		_, file := names(t, sets)
		rule, _ := proto.GetExtension(file.Service[0].Method[0].Options, annotations.E_Http).(*annotations.HttpRule)
		if len(file.Service[0].Method) != 2 || rule.GetGet() == "" || seen[name] == "" {
			t.Errorf("%s: %v", name, file)
		}
	}
}

// TestSetLikeJSON: a set whose first file is as long as a brace is.
func TestSetLikeJSON(t *testing.T) {
	set, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{Name: proto.String(strings.Repeat("x", '{'-2))}}})
	if err != nil || string(set[:2]) != "\n{" {
		t.Fatalf("%q %v", set, err)
	}
	dir(t, map[string]string{"set.binpb": string(set)})
	if _, _, err := (Files{Schema: []string{"set.binpb"}}).Load(); err != nil {
		t.Error(err)
	}
}

func TestMistakes(t *testing.T) {
	dir(t, map[string]string{
		"syntax.proto":    "syntax = \"proto3\";\nmessage M {\n  string name 1;\n}\n",
		"two.proto":       "syntax = \"proto3\";\nmessage M {\n  Nope a = 1;\n  Nope b = 2;\n}\n",
		"import.proto":    "syntax = \"proto3\";\nimport \"dir/gone.proto\";\n",
		"p/deep.proto":    "syntax = \"proto3\";\nimport \"bad.proto\";\n",
		"p/bad.proto":     "syntax = \"proto3\";\n\n enum E {}\n",
		"p/gone.proto":    "syntax = \"proto3\";\nimport \"dir/gone.proto\";\n",
		"p/circle.proto":  "syntax = \"proto3\";\nimport \"circle2.proto\";\n",
		"p/circle2.proto": "syntax = \"proto3\";\nimport \"circle.proto\";\n",
		"foreign.proto":   "syntax = \"proto3\";\nimport \"grpc/health/v1/health.proto\";\n",
		"set.json":        `{"file":[{"name":3}]}`,
		"none.json":       `{"file":[]}`,
		"junk.binpb":      "\xff\xff",
		"empty.binpb":     "",
		"dir.binpb/x":     "",
	})
	for _, test := range []struct {
		files Files
		want  string
	}{
		{Files{Schema: []string{"syntax.proto"}}, "schema syntax.proto:3:15: syntax error"},
		{Files{Schema: []string{"two.proto"}}, "schema two.proto:3:3: field M.a: unknown type Nope\n  two.proto:4:3: field M.b: unknown type Nope"},
		{Files{Schema: []string{"import.proto"}}, "schema import.proto:2:8: "},
		{Files{Schema: []string{"import.proto"}}, "there is no such file: name the directory that import paths begin in by --proto-path DIR"},
		{Files{Schema: []string{"p/deep.proto"}, ProtoPaths: []string{"p"}}, "schema p/bad.proto:3:2: "},
		{Files{Schema: []string{"p/gone.proto"}, ProtoPaths: []string{"p"}}, "schema p/gone.proto:2:8: "},
		{Files{Schema: []string{"p/circle.proto"}, ProtoPaths: []string{"p"}}, "p/circle2.proto:2:8: cycle"},
		{Files{Schema: []string{"foreign.proto"}}, "there is no such file"},
		{Files{Schema: []string{"two.proto"}, ProtoPaths: []string{"p", "q"}}, "schema two.proto is below none of the directories of --proto-path: p, q"},
		{Files{Schema: []string{"gone.proto"}}, "schema gone.proto: there is no such file"},
		{Files{Schema: []string{"gone.binpb"}}, "schema gone.binpb: there is no such file"},
		{Files{Schema: []string{"dir.binpb"}}, "schema dir.binpb: is a directory"},
		{Files{Schema: []string{"set.json"}}, "schema set.json is JSON, but not that of a descriptor set ((line 1:18): invalid value for string field name: 3)"},
		{Files{Schema: []string{"none.json"}}, "schema none.json describes nothing"},
		{Files{Schema: []string{"junk.binpb"}}, "schema junk.binpb is not a descriptor set"},
		{Files{Schema: []string{"empty.binpb"}}, "schema empty.binpb describes nothing"},
	} {
		_, seen, err := test.files.Load()
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got %v\nwant %s", test.files, err, test.want)
		}
		if seen[test.files.Schema[0]] == "" {
			t.Errorf("%v is not watched", test.files)
		}
	}
}

// TestKeeper looks by hand: what changed is used when it has settled, and what is bad
// is told once.
func TestKeeper(t *testing.T) {
	dir(t, map[string]string{"shop/v1/shop.proto": shop, "shop/v1/item.proto": item})
	var log bytes.Buffer
	k, err := Keep(Files{Schema: []string{"shop/v1/shop.proto"}}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	change := func(name, text string) {
		write(t, name, text)
		now = now.Add(time.Second) // whatever the resolution of the file system
		if err := os.Chtimes(name, now, now); err != nil {
			t.Fatal(err)
		}
	}
	var used [][]byte
	var refuse error
	use := func(sets ...[]byte) error { used = sets; return refuse }
	looks := func(n int) {
		used = nil
		for range n {
			k.look(use)
		}
	}
	warnings := func(n int) {
		t.Helper()
		if got := strings.Count(log.String(), "level=WARN"); got != n {
			t.Errorf("%d warnings, want %d:\n%s", got, n, &log)
		}
	}
	if looks(3); used != nil {
		t.Error("unchanged files were used again")
	}
	change("shop/v1/item.proto", strings.Replace(item, "string name = 1;", "string name = 1; int32 size = 2;", 1))
	if looks(1); used != nil {
		t.Error("used before it has settled")
	}
	if looks(1); !bytes.Contains(bytes.Join(used, nil), []byte("size")) {
		t.Error("a changed import was not used")
	}
	if looks(3); used != nil {
		t.Error("used twice")
	}
	change("shop/v1/item.proto", "syntax = \"proto3\";\nmessage {")
	if looks(5); used != nil {
		t.Error("a bad file was used")
	}
	warnings(1)
	if !strings.Contains(log.String(), "shop/v1/item.proto:2:9") {
		t.Error(&log)
	}
	if err := os.Remove("shop/v1/item.proto"); err != nil {
		t.Fatal(err)
	}
	looks(5)
	warnings(2)
	change("shop/v1/item.proto", item)
	if looks(2); used == nil {
		t.Error("not used after a mistake")
	}
	refuse = errors.New("odd")
	change("shop/v1/item.proto", item+"message More {}")
	looks(5)
	warnings(3)
	refuse = nil
	change("shop/v1/item.proto", item)
	if looks(2); used == nil {
		t.Error("not used after a refusal")
	}
	warnings(3)
}
