// Package demopb is the generated code of the demo's service, as a client has it.
package demopb

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.70.0 generate
