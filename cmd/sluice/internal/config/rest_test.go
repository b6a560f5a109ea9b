package config

import (
	"reflect"
	"strings"
	"testing"

	"github.com/sluice-rpc/sluice"
)

// Every field of the library's options has a row, which writes to this very field and
// reads what it has written.
func TestRESTSettings(t *testing.T) {
	var o sluice.RESTOptions
	rows := restSettings("", &o)
	v := reflect.ValueOf(&o).Elem()
	if len(rows) != v.NumField() {
		t.Errorf("%d rows for %d fields", len(rows), v.NumField())
	}
	for i, row := range rows {
		name := v.Type().Field(i).Name
		if strings.ReplaceAll(row.Key, "_", "") != strings.ToLower(name) {
			t.Fatalf("row %s is in the place of field %s", row.Key, name)
		}
		if row.Value.String() != "" || !v.Field(i).IsZero() {
			t.Errorf("%s is set from the start", row.Key)
		}
		text := map[string]string{"true or false": "false", "number": "0", "time": "7s", "size": "7KiB", "list": "x", "text": "x"}[row.Value.Type()]
		if row.Key == "profile" {
			text = "envoy"
		}
		if err := row.Value.Set(text); err != nil {
			t.Fatalf("%s: %v", row.Key, err)
		}
		if v.Field(i).IsZero() || row.Value.String() != text {
			t.Errorf("%s is %v, %q", row.Key, v.Field(i), row.Value)
		}
		if err := row.Value.Set("maybe"); err == nil && row.Value.Type() != "text" && row.Value.Type() != "list" {
			t.Errorf("%s takes anything", row.Key)
		}
	}
	// What is possible is the library's to say.
	c := New()
	if err := c.Read("s.yaml", []byte("backends: ['a:1']\nrest: {stream: loud}")); err != nil {
		t.Fatal(err)
	}
	if err := c.Check(true); err == nil || !strings.Contains(err.Error(), `"loud" is no mode`) {
		t.Error(err)
	}
}
