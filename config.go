package sluice

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/sluice-rpc/sluice/rpc"
)

// A Config says what a gateway does. The zero value of every field is a safe
// default; only Backends is required.
type Config struct {
	// Backends are the gRPC servers behind the gateway. With several, each call goes
	// to the one that has its service.
	Backends []Backend

	// DescriptorSets are serialized google.protobuf.FileDescriptorSet messages. With
	// none the gateway asks the backends by server reflection, in the background.
	// SetDescriptorSets of the Gateway replaces them.
	DescriptorSets [][]byte

	// Policies wrap the handling of every call, the first outermost.
	Policies []func(rpc.Handler) rpc.Handler

	REST REST

	// Handlers are served at these paths instead of calls: a page, a check of health. One that
	// ends with a slash, but for "/" itself, is all below it; of several the longest counts. Each
	// request runs on a goroutine.
	Handlers map[string]http.Handler

	// CORSOrigins are the web origins whose pages may call, such as
	// "https://app.example.com"; "*" is any, without credentials. None: no other
	// origin may.
	CORSOrigins []string

	WebSocket WebSocket
	Duplex    Duplex

	// Authenticate says who makes a call, or refuses it by an error: with the status if it is
	// an rpc.Status, else with UNAUTHENTICATED. It is asked for every call, and when a client comes
	// back for a call that it had begun, which has to be of the same principal; and for a client that wants
	// a ticket for WebTransport, with the path of tickets for its method. It must not block.
	Authenticate func(call *rpc.Call) (principal string, err error)

	// Discovery is what clients are told about carriers.
	Discovery Discovery

	// HTTP3, if it is not nil, lets ServeQUIC serve HTTP/3 and WebTransport. Package h3 has it.
	HTTP3 HTTP3

	Limits   Limits
	Timeouts Timeouts

	// Logger gets what an operator should know. Nil is silent.
	Logger *slog.Logger
	// AccessLog gets one line a call, at its end. Lines are buffered and bounded; what is
	// dropped is counted. With nil, calls become records of Logger, which costs more.
	AccessLog io.Writer
	// AccessLogJSON makes JSON of the lines of AccessLog; else they are text as log/slog
	// writes it.
	AccessLogJSON bool
	// DisableAccessLog turns the lines of calls off.
	DisableAccessLog bool
}

// A Backend is one gRPC server, at one or more addresses.
type Backend struct {
	// Target is "host:port" (HTTP/2 without TLS), "https://host:port",
	// "unix:/path", "dns:///name:port" (every address of the name, resolved again and
	// again), or "dns+https:///name:port".
	Target string
	// Handler serves in the process instead of Target: an *grpc.Server, or any
	// http.Handler that speaks gRPC.
	Handler http.Handler

	// TLS is used for https targets. Nil uses the system's certificate authorities.
	TLS *tls.Config
	// Authority is the :authority that the backend sees. Empty is the target's own for
	// https targets, because certificates and virtual hosts go by it, and the client's
	// for others.
	Authority string
	// Balance is "least_requests" (the default: the better of two random choices) or
	// "round_robin".
	Balance string
	// HealthCheck asks grpc.health.v1 at each address, and gives calls only to those
	// that are serving. HealthService is the service asked for.
	HealthCheck   bool
	HealthService string
	// Services names the services of this backend ("package.Service") if neither
	// descriptors nor reflection tell.
	Services []string
}

// REST says how methods are reached by HTTP and JSON: by which rules, besides the
// google.api.http annotations of the descriptors, and how requests and answers are written.
type REST struct {
	// HTTPRules are service configurations whose http rules count instead of the
	// annotations of the methods that they name; a later one goes before those before it.
	HTTPRules []HTTPRulesFile
	// Naming makes a rule of the name of each method that has none, such as
	// "POST /api/{service:kebab}/{method:kebab}". Empty is none.
	Naming string
	// OpenAPI, if it is not nil, is served to clients: an OpenAPI document of all services
	// at /openapi.json and /openapi.yaml.
	OpenAPI *OpenAPI

	// Options are of all methods, Overrides of those of a service ("package.Service") or of
	// one ("package.Service/Method"): there, what they leave open is as for the service, or
	// for all.
	Options   RESTOptions
	Overrides map[string]RESTOptions
}

// OpenAPI is what an OpenAPI document says that is not in descriptors. The zero value will
// do.
type OpenAPI struct {
	Title, Version string   // of the API; by default the name of the only service, and "0"
	Servers        []string // URLs where clients reach the gateway; by default that of the document
	Bearer         bool     // clients may authenticate by a bearer token
	APIKey         string   // the header field by which they may send a key; "" is none
}

// An HTTPRulesFile is a service configuration (google.api.Service) in YAML or JSON, of
// which http counts.
type HTTPRulesFile struct {
	Name string // for errors and lists of routes
	Data []byte
}

// WebSocket says how calls over WebSocket are looked after. Zero is the default named at the
// field; a negative time is never.
type WebSocket struct {
	Ping          time.Duration // silence of a client before it is pinged; 15 s
	PingTimeout   time.Duration // silence after that before it is given up; 15 s
	NoCompression bool          // permessage-deflate is not agreed to
	Disabled      bool          // there are none: handshakes are answered with 501
	// Metadata names fields of the handshake that become metadata of gRPC calls over
	// WebSocket, besides cookie and authorization. (Those of REST take all.)
	Metadata []string
}

// Duplex says how calls over WebTransport, WebSocket and HTTP/2 duplex are looked after
// (docs/protocols/duplex.md). Zero is the default named at the field.
type Duplex struct {
	Path   string        // where these carriers are reached; "/sluice/v1". "off" is none of them
	Node   string        // the name of this gateway among several
	Key    []byte        // a secret that several gateways share; random
	Ping   time.Duration // silence of a client before it is pinged, and after that before it is given up; 20 s
	Detach time.Duration // how long a call waits for a client whose connection was lost; 60 s

	// Of HTTP duplex (docs/protocols/http2-duplex.md).
	Poll    time.Duration // how long a long poll waits for something to answer; 20 s
	PollGap time.Duration // how long a session that is polled lives without a poll; 30 s

	// Metadata names fields of the request that opens a session of HTTP duplex or WebTransport which
	// become metadata of its calls, besides cookie and authorization.
	Metadata []string
}

// Limits bound what a peer can make the gateway spend. Zero is the default named at
// the field; negative is not allowed.
type Limits struct {
	MessageBytes       int // one message, compressed or not, as protobuf and as JSON, in either direction; 4 MiB
	HeaderBytes        int // the field section of a request, as RFC 9113 counts it (name + value + 32 each); 16 KiB
	BackendHeaderBytes int // the same of a response or its trailers; 64 KiB
	StreamsPerConn     int // concurrent calls on one client connection; 250
	Conns              int // client connections; 65536
	ConnBufferBytes    int // request bytes waiting in the gateway for one client connection; 1 MiB
	BufferBytes        int // bytes of calls waiting in the gateway, in all; a quarter of the memory limit, at least 256 MiB
	HeldCalls          int // calls that wait for a backend to become ready; 10000
	DecompressionRatio int // how many times larger than its compressed form a message may be, above 1 MiB; 100
	ConnAbuse          int // the budget of useless work a second on one client connection, in frames; 1000
	WaitingCalls       int // calls that wait for a client whose connection was lost; 10000
	WaitingBytes       int // what calls of one client connection keep while they wait; 4 MiB

	// Of HTTP duplex.
	DuplexSessions       int // sessions in all; 16384
	DuplexClientSessions int // sessions of one client address, or network of 64 bits; 1000
	DuplexUploads        int // uploads of a session at a time; 32
	DuplexAheadBytes     int // how far uploads of a session may reach beyond a gap; 256 KiB
	Tickets              int // tickets for WebTransport that were not used, 1 KiB each on average; a sixteenth for one address; 4096
}

// Timeouts bound waiting. Nothing here cuts a stream that makes progress. Zero is the
// default named at the field; negative is never.
type Timeouts struct {
	Handshake  time.Duration // TLS handshake and HTTP/2 preface; 10 s
	Header     time.Duration // a begun request head; 10 s
	Idle       time.Duration // a client connection without calls; 5 min
	Stall      time.Duration // a peer that takes less than 1 KiB a second of what waits for it; 60 s
	Ready      time.Duration // how long a call without a deadline waits for a backend; 10 s
	Dial       time.Duration // one attempt to connect to a backend; 5 s
	FirstByte  time.Duration // a backend's first response event for a call without a deadline; never
	Drain      time.Duration // running calls when shutting down; 30 s
	KeepAlive  time.Duration // silence on a backend connection with open calls before a PING; 30 s, at least 10 s
	SettingAck time.Duration // acknowledgement of SETTINGS; 10 s
	StreamHead time.Duration // until the head of a stream over REST leaves without a message; 250 ms
	Heartbeat  time.Duration // silence on a stream over REST before a sign of life; 15 s
	Ticket     time.Duration // a ticket for WebTransport that is not used; 30 s
}
