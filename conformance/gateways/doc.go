// Package gateways compares the profiles of REST with the gateways that they are named
// after: the same requests go to both, in front of the same gRPC server.
package gateways
