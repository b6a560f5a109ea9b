// Command sluice puts gRPC, gRPC-Web and Connect clients in front of gRPC servers.
//
//	sluice serve localhost:50051
//	sluice demo
package main

import (
	"os"

	"github.com/sluice-rpc/sluice/cmd/sluice/internal/command"
)

func main() {
	os.Exit(command.Main(command.Args(os.Args), os.Environ(), os.Stdout, os.Stderr))
}
