package config

import (
	"slices"
	"strings"

	"github.com/sluice-rpc/sluice/cmd/sluice/internal/devtls"
)

// A Setting is one thing that can be set: a row of the table.
type Setting struct {
	Key     string // in the file: "limits.message_bytes"
	Flag    string // without the dashes; empty is none
	Arg     string // what the flag's argument is called
	Default string // as it would be written
	Help    string // half a sentence
	Error   string // of limits and timeouts: what the peer gets to see
	Value   Value

	auto bool // the default is worked out elsewhere; its text is an explanation
}

// EnvPrefix begins the name of every variable.
const EnvPrefix = "SLUICE_"

// Env returns the names of the variables: that of the flag, if there is one, and that
// of the key.
func (s *Setting) Env() []string {
	key := EnvPrefix + strings.ToUpper(strings.ReplaceAll(s.Key, ".", "_"))
	if s.Flag == "" {
		return []string{key}
	}
	if flag := EnvPrefix + strings.ToUpper(strings.ReplaceAll(s.Flag, "-", "_")); flag != key {
		return []string{flag, key}
	}
	return []string{key}
}

// Settings returns the table for c, in the order in which people are told about it.
func (c *Config) Settings() []Setting {
	l, t := &c.Limits, &c.Timeouts
	return slices.Concat(c.serving(), restSettings("rest.", &c.REST.Options), []Setting{
		{Key: "rest.overrides", Value: overrides(&c.REST.Overrides),
			Help: "these options by service or method, in the file only"},
		{Key: "openapi.title", Flag: "openapi-title", Arg: "TEXT", Value: text(&c.OpenAPI.Title),
			Help: "title of the OpenAPI document; the name of the only service by default"},
		{Key: "openapi.version", Flag: "openapi-version", Arg: "TEXT", Value: text(&c.OpenAPI.Version),
			Help: "version of the API in it; 0 by default"},
		{Key: "openapi.servers", Flag: "openapi-server", Arg: "URL", Value: list(&c.OpenAPI.Servers, nil),
			Help: "where clients reach the gateway (repeatable); the listener by default"},
		{Key: "openapi.bearer", Default: "false", Value: boolean(&c.OpenAPI.Bearer),
			Help: "it says that clients authenticate by a bearer token"},
		{Key: "openapi.api_key", Arg: "HEADER", Value: text(&c.OpenAPI.APIKey),
			Help: "it says that clients authenticate by a key in this header field"},
		{Key: "cors_origins", Flag: "cors-origin", Arg: "ORIGIN", Value: list(&c.CORSOrigins, checkOrigin),
			Help: "web origin whose pages may call, as https://app.example.com, or * for all (repeatable)"},

		{Key: "websocket.serve", Default: "on", Value: oneOf(&c.WebSocket.Serve, "on", "off"),
			Help: "calls over WebSocket: on or off"},
		{Key: "websocket.ping", Default: "15s", Value: duration(&c.WebSocket.Ping),
			Help: "silence of a client on a WebSocket before it gets a ping"},
		{Key: "websocket.ping_timeout", Default: "15s", Value: duration(&c.WebSocket.PingTimeout),
			Help: "silence after the ping before its call is canceled"},
		{Key: "websocket.compression", Default: "on", Value: oneOf(&c.WebSocket.Compression, "on", "off"),
			Help: "permessage-deflate on WebSockets: on or off"},
		{Key: "websocket.metadata", Arg: "NAME", Value: list(&c.WebSocket.Metadata, nil),
			Help: "a field of the handshake that becomes metadata of gRPC calls over WebSocket, besides cookie and authorization (repeatable)"},

		{Key: "duplex.path", Flag: "duplex-path", Arg: "PATH", Default: "/sluice/v1", Value: text(&c.Duplex.Path),
			Help: "where WebTransport, WebSocket and HTTP/2 duplex of the gateway's own are reached; off for none"},
		{Key: "duplex.node", Flag: "node", Arg: "NAME", Value: text(&c.Duplex.Node),
			Help: "the name of this gateway among several; the host's by default"},
		{Key: "duplex.key_file", Arg: "FILE", Value: text(&c.Duplex.KeyFile),
			Help: "a secret that several gateways share, at least 32 bytes; random by default"},
		{Key: "duplex.ping", Default: "20s", Value: duration(&c.Duplex.Ping),
			Help: "silence of a client before it gets a ping, and after that before it is given up"},
		{Key: "duplex.detach", Default: "1m", Value: duration(&c.Duplex.Detach),
			Help: "how long a call waits for a client whose connection was lost"},
		{Key: "duplex.poll", Default: "20s", Value: duration(&c.Duplex.Poll),
			Help: "how long a long poll waits for something to answer"},
		{Key: "duplex.poll_gap", Default: "30s", Value: duration(&c.Duplex.PollGap),
			Help: "how long a session of long polls lives without one"},
		{Key: "duplex.metadata", Arg: "NAME", Value: list(&c.Duplex.Metadata, nil),
			Help: "a field of the request that opens a session of HTTP duplex or WebTransport which becomes metadata of its calls, besides cookie and authorization (repeatable)"},

		{Key: "log.level", Flag: "log-level", Arg: "LEVEL", Default: "info", Value: level(&c.Log.Level),
			Help: "debug, info, warn or error"},
		{Key: "log.format", Flag: "log-format", Arg: "FORMAT", Default: "text", Value: oneOf(&c.Log.Format, "text", "json"),
			Help: "text or json"},
		{Key: "log.calls", Default: "true", Value: boolean(&c.Log.Calls),
			Help: "one record a call, at its end"},

		{Key: "limits.message_bytes", Flag: "max-message", Arg: "SIZE", Default: "4MiB", Value: size(&l.MessageBytes),
			Help: "one message, compressed or not, as protobuf and as JSON, in either direction", Error: "RESOURCE_EXHAUSTED"},
		{Key: "limits.header_bytes", Default: "16KiB", Value: size(&l.HeaderBytes),
			Help: "the header fields of a request, name + value + 32 each", Error: "HTTP 431"},
		{Key: "limits.backend_header_bytes", Default: "64KiB", Value: size(&l.BackendHeaderBytes),
			Help: "the header fields of a response, or its trailers", Error: "RESOURCE_EXHAUSTED"},
		{Key: "limits.streams_per_conn", Flag: "max-streams", Arg: "N", Default: "250", Value: count(&l.StreamsPerConn),
			Help: "concurrent calls on one client connection", Error: "REFUSED_STREAM; clients wait by themselves"},
		{Key: "limits.conns", Default: "65536", Value: count(&l.Conns),
			Help: "client connections", Error: "the connection is closed"},
		{Key: "limits.conn_buffer_bytes", Default: "1MiB", Value: size(&l.ConnBufferBytes),
			Help: "request bytes waiting in the gateway for one client connection", Error: "none: the client has to wait"},
		{Key: "limits.buffer_bytes", Default: "auto: a quarter of GOMEMLIMIT, at least 256MiB", auto: true, Value: size(&l.BufferBytes),
			Help: "bytes of calls waiting in the gateway, in all", Error: "RESOURCE_EXHAUSTED for the calls that hold most"},
		{Key: "limits.held_calls", Default: "10000", Value: count(&l.HeldCalls),
			Help: "calls that wait for a backend to become ready", Error: "UNAVAILABLE"},
		{Key: "limits.decompression_ratio", Default: "100", Value: count(&l.DecompressionRatio),
			Help: "how many times larger than its compressed form a message may be, above 1 MiB", Error: "RESOURCE_EXHAUSTED"},
		{Key: "limits.conn_abuse", Default: "1000", Value: count(&l.ConnAbuse),
			Help: "frames of useless work a second on one client connection", Error: "GOAWAY(ENHANCE_YOUR_CALM); its next connections wait up to 1s"},
		{Key: "limits.waiting_calls", Default: "10000", Value: count(&l.WaitingCalls),
			Help: "calls that wait for a client whose connection was lost", Error: "the one that waits longest is canceled"},
		{Key: "limits.waiting_bytes", Default: "4MiB", Value: size(&l.WaitingBytes),
			Help: "what calls of one client connection keep while they wait", Error: "the one that waits longest is canceled"},
		{Key: "limits.duplex_sessions", Default: "16384", Value: count(&l.DuplexSessions),
			Help: "sessions of HTTP duplex", Error: "HTTP 503"},
		{Key: "limits.duplex_client_sessions", Default: "1000", Value: count(&l.DuplexClientSessions),
			Help: "of these, sessions of one client address, or network of 64 bits; behind a proxy all clients have one address", Error: "HTTP 429"},
		{Key: "limits.duplex_uploads", Default: "32", Value: count(&l.DuplexUploads),
			Help: "uploads of a session of HTTP duplex at a time", Error: "HTTP 409; the client sends it again later"},
		{Key: "limits.duplex_ahead_bytes", Default: "256KiB", Value: size(&l.DuplexAheadBytes),
			Help: "how far uploads of a session may reach beyond a gap", Error: "HTTP 409; the client sends it again later"},
		{Key: "limits.tickets", Default: "4096", Value: count(&l.Tickets),
			Help: "tickets for WebTransport that were not used, 1 KiB each on average; a sixteenth for one address", Error: "HTTP 503, or 429 for the address"},

		{Key: "timeouts.handshake", Default: "10s", Value: duration(&t.Handshake),
			Help: "TLS handshake and HTTP/2 preface", Error: "the connection is closed"},
		{Key: "timeouts.header", Default: "10s", Value: duration(&t.Header),
			Help: "a request head that has begun", Error: "the connection is closed"},
		{Key: "timeouts.idle", Default: "5m", Value: duration(&t.Idle),
			Help: "a client connection without calls", Error: "GOAWAY(NO_ERROR), or the connection is closed"},
		{Key: "timeouts.stall", Default: "1m", Value: duration(&t.Stall),
			Help: "a peer that takes less than 1 KiB a second of what waits for it", Error: "its calls, or its connection, end"},
		{Key: "timeouts.ready", Default: "10s", Value: duration(&t.Ready),
			Help: "how long a call without a deadline waits for a backend", Error: "UNAVAILABLE"},
		{Key: "timeouts.dial", Default: "5s", Value: duration(&t.Dial),
			Help: "one attempt to connect to a backend", Error: "UNAVAILABLE, when no endpoint is left"},
		{Key: "timeouts.first_byte", Default: "never", Value: duration(&t.FirstByte),
			Help: "a backend's first response for a call without a deadline", Error: "DEADLINE_EXCEEDED"},
		{Key: "timeouts.drain", Flag: "drain-timeout", Arg: "TIME", Default: "30s", Value: duration(&t.Drain),
			Help: "running calls when shutting down", Error: "UNAVAILABLE"},
		{Key: "timeouts.keep_alive", Default: "30s", Value: keepAlive(&t.KeepAlive),
			Help: "silence on a backend connection with calls before a PING; at least 10s", Error: "UNAVAILABLE for calls of a dead connection"},
		{Key: "timeouts.setting_ack", Default: "10s", Value: duration(&t.SettingAck),
			Help: "acknowledgement of SETTINGS", Error: "GOAWAY(SETTINGS_TIMEOUT)"},
		{Key: "timeouts.stream_head", Default: "250ms", Value: duration(&t.StreamHead),
			Help: "until the head of a stream over REST leaves without a message", Error: "none: 200 and an empty line, a comment or a bracket"},
		{Key: "timeouts.heartbeat", Default: "15s", Value: duration(&t.Heartbeat),
			Help: "silence on a stream over REST before a sign of life", Error: "none: an empty line, a comment or a space"},
		{Key: "timeouts.ticket", Default: "30s", Value: duration(&t.Ticket),
			Help: "a ticket for WebTransport that is not used", Error: "the session is refused"},
	})
}

// serving is what is served, and where.
func (c *Config) serving() []Setting {
	return []Setting{
		{Key: "listen", Flag: "listen", Arg: "ADDR", Default: ":8080", Value: address(&c.Listen),
			Help: "HTTP/1.1 and HTTP/2 without TLS; off for none"},
		{Key: "tls.listen", Flag: "tls-listen", Arg: "ADDR", Value: address(&c.TLS.Listen),
			Help: "HTTP/1.1, HTTP/2 and HTTP/3 with TLS"},
		{Key: "tls.cert", Flag: "tls-cert", Arg: "FILE", Value: text(&c.TLS.Cert),
			Help: "certificate chain (PEM), read again when it changes"},
		{Key: "tls.key", Flag: "tls-key", Arg: "FILE", Value: text(&c.TLS.Key),
			Help: "private key (PEM), read again when it changes"},
		{Key: "tls.client_ca", Flag: "tls-client-ca", Arg: "FILE", Value: text(&c.TLS.ClientCA),
			Help: "require client certificates signed by one of these authorities (PEM); several files are separated by commas"},
		{Key: "tls.client_auth", Default: "require", Value: oneOf(&c.TLS.ClientAuth, "require", "if_given"),
			Help: "whether clients need a certificate with tls.client_ca: require or if_given"},
		{Key: "tls.http3", Flag: "http3", Arg: "on|off", Default: "on", Value: oneOf(&c.TLS.HTTP3, "on", Off),
			Help: "HTTP/3 and WebTransport, on the same port of UDP as HTTP/2 with TLS: on or off"},
		{Key: "tls.http3_announce", Arg: "PORT", Value: port(&c.TLS.HTTP3Announce),
			Help: "the port of UDP that clients are told of, if it is not that of the listener"},
		{Key: "tls.dev", Flag: "tls-dev", Arg: "bool", Default: "false", Value: boolean(&c.TLS.Dev),
			Help: "for development: make an authority and certificates; listens on :8443 if tls.listen is not set"},
		{Key: "tls.dev_names", Flag: "tls-dev-name", Arg: "NAME", Value: list(&c.TLS.DevNames, devtls.CheckName),
			Help: "a name or address for these certificates, besides those of this machine (repeatable)"},
		{Key: "tls.dev_dir", Flag: "tls-dev-dir", Arg: "DIR", Value: text(&c.TLS.DevDir),
			Help: "where they are kept; by default where the user's state is"},
		{Key: "admin", Flag: "admin", Arg: "ADDR", Default: "127.0.0.1:9090", Value: address(&c.Admin),
			Help: "/livez, /readyz, /metrics, /docs and /openapi.json; off for none"},
		{Key: "admin_hosts", Flag: "admin-host", Arg: "HOST", Value: list(&c.AdminHosts, nil),
			Help: "a name by which the admin address may be asked, besides loopback and addresses (repeatable)"},

		{Key: "backends", Arg: "BACKEND", Value: targets(&c.Backends),
			Help: "the gRPC servers: host:port, https://host:port, unix:/path, dns:///name:port"},
		{Key: "backend_tls.ca", Flag: "backend-ca", Arg: "FILE", Value: text(&c.BackendTLS.CA),
			Help: "certificate authorities of https backends (PEM), several files separated by commas; the system's by default"},
		{Key: "backend_tls.cert", Flag: "backend-cert", Arg: "FILE", Value: text(&c.BackendTLS.Cert),
			Help: "client certificate for https backends (PEM)"},
		{Key: "backend_tls.key", Flag: "backend-key", Arg: "FILE", Value: text(&c.BackendTLS.Key),
			Help: "its private key (PEM)"},
		{Key: "backend_tls.server_name", Flag: "backend-server-name", Arg: "NAME", Value: text(&c.BackendTLS.ServerName),
			Help: "name in the certificates of https backends; that of the address by default"},
		{Key: "schema", Flag: "schema", Arg: "FILE", Value: list(&c.Schema, nil),
			Help: "the services, as .proto, descriptor set or buf image (repeatable); by default the backends are asked by reflection"},
		{Key: "proto_paths", Flag: "proto-path", Arg: "DIR", Value: list(&c.ProtoPaths, nil),
			Help: "where .proto files and their imports are looked for (repeatable)"},
		{Key: "rest.http_rules", Flag: "http-rules", Arg: "FILE", Value: list(&c.REST.HTTPRules, nil),
			Help: "service configuration (YAML or JSON) whose http rules go before the annotations of methods (repeatable)"},
		{Key: "rest.naming", Flag: "naming", Arg: "PATTERN", Value: naming(&c.REST.Naming),
			Help: "a rule for methods that have none, as \"POST /api/{service:kebab}/{method:kebab}\""},
		{Key: "rest.openapi", Flag: "openapi", Arg: "bool", Default: "false", Value: boolean(&c.REST.OpenAPI),
			Help: "give clients the OpenAPI document, at /openapi.json and /openapi.yaml; the admin address always has it"},
	}
}

// settings is the table of one backend of the file.
func (b *Backend) settings() []Setting {
	return []Setting{
		{Key: "target", Value: target(&b.Target)},
		{Key: "tls.ca", Value: text(&b.TLS.CA)},
		{Key: "tls.cert", Value: text(&b.TLS.Cert)},
		{Key: "tls.key", Value: text(&b.TLS.Key)},
		{Key: "tls.server_name", Value: text(&b.TLS.ServerName)},
		{Key: "authority", Value: text(&b.Authority)},
		{Key: "balance", Value: balance(&b.Balance)},
		{Key: "health_check", Value: boolean(&b.HealthCheck)},
		{Key: "health_service", Value: text(&b.HealthService)},
		{Key: "services", Value: list(&b.Services, nil)},
	}
}
