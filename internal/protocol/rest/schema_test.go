package rest

import (
	"sync"
	"testing"

	"github.com/sluice-rpc/sluice/internal/schema"
	"github.com/sluice-rpc/sluice/internal/schema/schematest"
	"github.com/sluice-rpc/sluice/internal/transcode"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

var compiled = sync.OnceValues(func() ([]byte, error) {
	files, err := schematest.Files("testdata", "rest.proto")
	if err != nil {
		return nil, err
	}
	return proto.Marshal(schematest.Set(files...))
})

var snapshot = sync.OnceValues(func() (*schema.Snapshot, error) {
	set, err := compiled()
	if err != nil {
		return nil, err
	}
	s, err := schema.FromDescriptorSets(set)
	if err != nil {
		return nil, err
	}
	store := schema.NewStore(0, nil)
	store.Set(schema.Given, s)
	return store.Snapshot(), nil
})

// testSnapshot is the schema of testdata.
func testSnapshot(t testing.TB) *schema.Snapshot {
	t.Helper()
	s, err := snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newTable makes a table in which all methods have a style.
func newTable(s Style) (*Table, []error) {
	sn, err := snapshot()
	if err != nil {
		return nil, []error{err}
	}
	return NewTable(sn, ruleOptions, func(string) *Style { return &s }, typesOf)
}

var ruleOptions schema.RuleOptions

func typesOf(s *schema.Schema) *transcode.Types { return transcode.NewTypes(s.Files()) }

var table = sync.OnceValues(func() (*Table, []error) { return newTable(Sluice()) })

func testTable(t testing.TB) *Table {
	t.Helper()
	table, problems := table()
	for _, p := range problems {
		t.Fatal(p)
	}
	return table
}

// message makes a message of a type of the schema.
func message(t testing.TB, name protoreflect.FullName) *dynamicpb.Message {
	t.Helper()
	d, err := testSnapshot(t).Schemas()[schema.Given].Files().FindDescriptorByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
}
