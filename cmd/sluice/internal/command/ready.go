package command

import (
	"strings"

	"github.com/sluice-rpc/sluice"
)

// readiness is what /readyz writes.
type readiness struct {
	Ready       bool           `json:"ready"`
	Draining    bool           `json:"draining,omitempty"`
	ActiveCalls int            `json:"active_calls"`
	ClientConns int            `json:"client_conns"`
	Methods     int            `json:"methods"`
	Backends    []backendReady `json:"backends"`
}

type backendReady struct {
	Target    string          `json:"target"`
	Ready     bool            `json:"ready"`
	Error     string          `json:"error,omitempty"`
	Hint      string          `json:"hint,omitempty"`
	Waiting   int             `json:"waiting_calls,omitempty"`
	Services  []string        `json:"services,omitempty"`
	Schema    string          `json:"schema,omitempty"`
	NoSchema  string          `json:"schema_error,omitempty"`
	Endpoints []endpointReady `json:"endpoints"`
}

type endpointReady struct {
	Addr  string `json:"addr"`
	State string `json:"state"`
	Error string `json:"error,omitempty"`
	Conns int    `json:"conns"`
	Calls int    `json:"calls"`
}

func (in *instance) ready() (bool, any) {
	st := in.gateway.Status()
	r := readiness{Draining: in.draining.Load(), ActiveCalls: st.ActiveCalls, ClientConns: st.ClientConns, Methods: st.Methods,
		Backends: []backendReady{}}
	r.Ready = !r.Draining && in.gateway.Ready()
	for i := range st.Backends {
		b := &st.Backends[i]
		one := backendReady{Target: b.Target, Ready: b.Ready, Waiting: b.Held, Services: b.Services, Schema: b.SchemaSource,
			NoSchema: b.SchemaError, Endpoints: []endpointReady{}}
		if !b.Ready {
			one.Error = reason(b)
			one.Hint = hint(b.Target, one.Error)
		}
		for _, e := range b.Endpoints {
			one.Endpoints = append(one.Endpoints, endpointReady{Addr: e.Addr, State: e.State, Error: e.Error, Conns: e.Conns, Calls: e.Calls})
		}
		r.Backends = append(r.Backends, one)
	}
	return r.Ready, r
}

// stillConnecting begins the reason of a backend whose first attempt has not ended.
const stillConnecting = "still connecting"

// reason says why a backend is not ready.
func reason(b *sluice.BackendStatus) string {
	if b.Error != "" {
		return b.Error
	}
	for _, e := range b.Endpoints {
		if e.Error != "" {
			return e.Addr + ": " + e.Error
		}
	}
	return stillConnecting
}

// hint says what to do about the reason.
func hint(target, reason string) string {
	for _, h := range []struct{ contains, do string }{
		{"connection refused", "is the server running there?"},
		{"no such host", "is the name right?"},
		{"no such file or directory", "is the server running, and the path right?"},
		{"first record does not look like a TLS handshake", "the server does not speak TLS: leave https:// out"},
		{"signed by unknown authority", "give the authority of its certificate by --backend-ca FILE"},
		{"is valid for", "give the name in its certificate by --backend-server-name NAME"},
		{"doesn't contain any IP SANs", "give the name in its certificate by --backend-server-name NAME"},
		{"has expired", "the server needs a new certificate"},
		{"certificate required", "give a client certificate by --backend-cert FILE --backend-key FILE"},
		{"does not speak HTTP/2", "is it a gRPC server?"},
		{"FRAME_SIZE_ERROR", "is it a gRPC server? What it sends is not HTTP/2"},
		{"i/o timeout", "is the address right, and does a firewall let it through?"},
		{"deadline exceeded", "is the address right, and does a firewall let it through?"},
	} {
		if strings.Contains(reason, h.contains) {
			return h.do
		}
	}
	if !strings.Contains(target, "https") && (strings.Contains(reason, "closed the connection") || strings.Contains(reason, "EOF") || strings.Contains(reason, "reset by peer") || strings.Contains(reason, "HTTP/1")) {
		return "does it speak HTTP/2 without TLS? With TLS write https://" + strings.TrimPrefix(target, "dns:///")
	}
	return ""
}
