package grpc

import "strings"

// Reserved says whether a field belongs to HTTP, gRPC or Connect, and is no metadata of
// the application's. Such fields pass the gateway in neither direction; what of them
// means something is said anew on the other side.
func Reserved(name string) bool {
	if name == "" {
		return true
	}
	switch name[0] {
	case ':':
		return true
	case 'a':
		return name == "accept-encoding" || strings.HasPrefix(name, "access-control-")
	case 'c':
		return name == "connection" || strings.HasPrefix(name, "content-") || strings.HasPrefix(name, "connect-")
	case 'd':
		return name == "date"
	case 'e':
		return name == "expect"
	case 'g':
		return strings.HasPrefix(name, "grpc-") && name != "grpc-previous-rpc-attempts" && name != "grpc-retry-pushback-ms" &&
			name != "grpc-trace-bin" && name != "grpc-tags-bin"
	case 'h':
		return name == "host"
	case 'k':
		return name == "keep-alive"
	case 'o':
		return name == "origin"
	case 'p':
		return name == "proxy-connection"
	case 't':
		return name == "te" || name == "trailer" || name == "transfer-encoding" || strings.HasPrefix(name, "trailer-")
	case 'u':
		return name == "user-agent" || name == "upgrade"
	case 'x':
		return name == "x-grpc-web" || name == "x-user-agent"
	}
	return false
}
