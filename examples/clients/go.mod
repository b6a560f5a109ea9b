module github.com/sluice-rpc/sluice/examples/clients

go 1.26.0

require (
	connectrpc.com/connect v1.21.0
	google.golang.org/protobuf v1.36.12
)
