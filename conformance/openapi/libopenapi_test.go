//go:build libopenapi

// To compile this validator takes longer than all else here together, so that it has a say where everything is run.

package openapi

import (
	"fmt"
	"os"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
)

func init() { validators["libopenapi"] = libopenapiErrors }

func libopenapiErrors(t *testing.T, file string) (all []string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d, err := libopenapi.NewDocument(b)
	if err != nil {
		return []string{err.Error()}
	}
	if _, err := d.BuildV3Model(); err != nil {
		return []string{err.Error()}
	}
	v, errs := validator.NewValidator(d)
	for _, err := range errs {
		all = append(all, err.Error())
	}
	if len(errs) > 0 {
		return all
	}
	if ok, errs := v.ValidateDocument(); !ok {
		for _, e := range errs {
			all = append(all, e.Error())
			for _, more := range e.SchemaValidationErrors {
				all = append(all, fmt.Sprintf("  %s: %s", more.FieldPath, more.Reason))
			}
		}
	}
	return all
}
