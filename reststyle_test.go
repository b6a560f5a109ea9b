package sluice

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-rpc/sluice/internal/protocol/rest"
)

// TestStyleOptions: everything in a style has an option, which is read and written in the
// same way.
func TestStyleOptions(t *testing.T) {
	rules, err := rest.ParseFieldRules([]string{"!a", "b-*=c-* d-*"})
	if err != nil {
		t.Fatal(err)
	}
	other := map[reflect.Type]any{
		reflect.TypeFor[rest.Mode](): rest.NDJSON, reflect.TypeFor[rest.Modes](): rest.Modes(0).With(rest.Seq),
		reflect.TypeFor[rest.Failure](): rest.FailBare, reflect.TypeFor[rest.ErrorBody](): rest.ErrorGoogle, reflect.TypeFor[rest.FieldRules](): rules,
	}
	var change func(path string, s *rest.Style, v reflect.Value)
	change = func(path string, s *rest.Style, v reflect.Value) {
		before := reflect.New(v.Type()).Elem()
		before.Set(v)
		switch o := other[v.Type()]; {
		case path == ".JSON.Indent":
			v.SetString("   ")
		case path == ".JSON.MaxOutput" || path == ".JSON.Deterministic": // not for people to choose
			return
		case o != nil:
			v.Set(reflect.ValueOf(o))
			if reflect.DeepEqual(v.Interface(), before.Interface()) { // NDJSON is the usual mode
				v.Set(reflect.ValueOf(rest.Array))
			}
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				change(path+"."+v.Type().Field(i).Name, s, v.Field(i))
			}
			return
		case v.Kind() == reflect.Bool:
			v.SetBool(!v.Bool())
		case v.Kind() == reflect.Int:
			v.SetInt(v.Int() + 77)
		case v.Kind() == reflect.String:
			v.SetString("other")
		default:
			t.Fatal(path, v.Type())
		}
		if path == ".Document" { // of the two that it may be
			s.Document = rest.NDJSON
		}
		o := optionsOf(s)
		got, err := o.style()
		if err != nil {
			t.Errorf("%s: %v", path, err)
		} else if diff := cmp.Diff(fmt.Sprintf("%+v", s), fmt.Sprintf("%+v", got)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
		v.Set(before)
	}
	s := rest.Sluice()
	change("", &s, reflect.ValueOf(&s).Elem())
}
