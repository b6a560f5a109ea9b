// Package librarypb is the generated code of library.proto.
package librarypb

//go:generate go run ./gen
