package sluice

import (
	"slices"

	"github.com/sluice-rpc/sluice/internal/backend"
)

// A Status is how a gateway does now.
type Status struct {
	Backends    []BackendStatus
	Methods     int // known from descriptors
	ActiveCalls int
	ClientConns int
}

// A BackendStatus is how a backend does.
type BackendStatus struct {
	Target    string // "in-process" for a Handler
	Ready     bool
	Error     string // why it is not ready
	Held      int    // calls that wait for it
	Endpoints []EndpointStatus
	Services  []string // known from descriptors or the configuration

	SchemaSource string // "reflection", "descriptors", or "" for none yet
	SchemaError  string // why there is no schema, or not the newest
}

// An EndpointStatus is how one address of a backend does.
type EndpointStatus struct {
	Addr  string
	State string // "idle", "connecting", "ready", "transient_failure"
	Error string // why it is not ready
	Conns int
	Calls int
}

// Status tells how the gateway does.
func (g *Gateway) Status() Status {
	st := Status{ActiveCalls: g.calls.Len(), ClientConns: g.accept.Conns(), Methods: g.schemas.store.Snapshot().Methods()}
	for i, b := range g.backends {
		bs := backendStatus(b, &g.cfg.Backends[i])
		g.schemas.describe(i, &bs)
		st.Backends = append(st.Backends, bs)
	}
	return st
}

func backendStatus(b *backend.Backend, cfg *Backend) BackendStatus {
	from := b.Status()
	st := BackendStatus{Target: cfg.Target, Ready: from.Ready, Held: from.Held, Services: slices.Clone(cfg.Services)}
	if st.Target == "" {
		st.Target = inProcess
	}
	if from.Err != nil {
		st.Error = from.Err.Error()
	}
	for _, e := range from.Endpoints {
		s := EndpointStatus{Addr: e.Addr, State: string(e.State), Conns: e.Conns, Calls: e.Calls}
		if e.Err != nil {
			s.Error = e.Err.Error()
		}
		st.Endpoints = append(st.Endpoints, s)
	}
	return st
}
