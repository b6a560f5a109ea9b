// Package demopb is the generated code of demo.proto.
package demopb

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.70.0 generate
//go:generate sh -c "cd ../../../../../web/packages/demo && go run github.com/bufbuild/buf/cmd/buf@v1.70.0 generate"
