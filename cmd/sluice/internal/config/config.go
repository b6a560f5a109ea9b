package config

import (
	"log/slog"
	"time"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/internal/backend"
)

// A Config is everything that can be set. Make one by [New].
type Config struct {
	Listen      string // "off" is none
	TLS         ServerTLS
	Admin       string // "off" is none
	AdminHosts  []string
	Backends    []Backend
	BackendTLS  ClientTLS // for backends that have none of their own
	Schema      []string
	ProtoPaths  []string
	REST        REST
	OpenAPI     sluice.OpenAPI
	CORSOrigins []string
	WebSocket   WebSocket
	Duplex      Duplex
	Log         Log
	Limits      sluice.Limits
	Timeouts    sluice.Timeouts

	origins map[string]string // by key: where the value came from; absent is the default
}

// Off is written where something is not wanted.
const Off = "off"

// IfGiven is written where a client certificate is welcome and not required.
const IfGiven = "if_given"

// ServerTLS is the listener with TLS. Without Listen and Dev there is none.
type ServerTLS struct {
	Listen, Cert, Key, ClientCA string
	HTTP3                       string // "on" or "off"
	HTTP3Announce               int    // that clients reach; 0 is that of Listen
	ClientAuth                  string // "require" or "if_given"
	Dev                         bool   // certificates are made, for development
	DevNames                    []string
	DevDir                      string // "" is that of the user
	Temporary                   bool   // with Dev: any port will do, and nothing is kept that is not kept already
}

// ClientTLS is how to speak TLS to a backend. The zero value trusts the system's
// certificate authorities.
type ClientTLS struct {
	CA, Cert, Key, ServerName string
}

// WebSocket is how calls over WebSocket are looked after.
type WebSocket struct {
	Serve             string // "on" or "off"
	Ping, PingTimeout time.Duration
	Compression       string // "on" or "off"
	Metadata          []string
}

// Duplex is how calls over WebTransport, WebSocket and HTTP/2 duplex are looked after.
type Duplex struct {
	Path, Node, KeyFile string
	Ping, Detach        time.Duration
	Poll, PollGap       time.Duration
	Metadata            []string
}

// Log is what goes to standard error.
type Log struct {
	Level  slog.Level
	Format string // "text" or "json"
	Calls  bool   // one record a call
}

// A Backend is a backend as it was written.
type Backend struct {
	Target        string
	TLS           ClientTLS
	Authority     string
	Balance       string
	HealthCheck   bool
	HealthService string
	Services      []string

	origin string // where it was written, for errors
}

// Origin says where the backend was written.
func (b *Backend) Origin() string { return b.origin }

// UsesTLS says whether the target is one of those with TLS. The target has been
// checked before.
func (b *Backend) UsesTLS() bool {
	t, err := backend.ParseTarget(b.Target)
	return err == nil && t.TLS
}

// New returns a configuration of defaults.
func New() *Config {
	c := &Config{origins: map[string]string{}}
	for _, s := range c.Settings() {
		if s.Default == "" || s.auto {
			continue
		}
		if err := s.Value.Set(s.Default); err != nil {
			panic("default of " + s.Key + ": " + err.Error())
		}
	}
	return c
}

// Origin says where the value of a key came from: a flag, a variable, a line of the
// file, or "default".
func (c *Config) Origin(key string) string {
	if o, ok := c.origins[key]; ok {
		return o
	}
	return "default"
}

// Setting returns the value of a key, as it would be written. The key has to exist.
func (c *Config) Setting(key string) string {
	for _, s := range c.Settings() {
		if s.Key == key {
			return s.Value.String()
		}
	}
	panic("no setting " + key)
}
