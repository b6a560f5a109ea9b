// Package orders is the generated code of orders.proto, grpc-gateway's included.
package orders

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.70.0 generate
