// Package sluice is the universal gRPC streaming gateway as a library: it stands in
// front of gRPC servers and lets gRPC, gRPC-Web and Connect clients make every kind
// of call to them.
package sluice
