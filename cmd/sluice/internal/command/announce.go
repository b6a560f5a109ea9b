package command

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/demo"
)

// patience is how long the table waits for backends and their schema.
const patience = time.Second

// announce says once what is served, when backends and schema are known or patience
// has ended. Calls are served all the while.
func (in *instance) announce(ctx context.Context, w io.Writer) {
	st := in.wait(ctx)
	if ctx.Err() != nil {
		return
	}
	if in.config.Log.Format == "json" {
		in.logStart(st)
	} else {
		_, _ = w.Write([]byte(in.table(st))) // it says what is missing, too
		return
	}
	for i := range st.Backends {
		b := &st.Backends[i]
		switch {
		case !b.Ready:
			why := reason(b)
			args := []any{"backend", b.Target, "reason", why}
			if do := hint(b.Target, why); do != "" {
				args = append(args, "hint", do)
			}
			in.log.Warn("backend is not ready; calls to it fail until it is", args...)
		case b.SchemaSource == "" && b.SchemaError != "":
			in.log.Warn("no schema: calls pass, but JSON, REST and routing by service need one", "backend", b.Target,
				"reason", b.SchemaError, "hint", "switch server reflection on, or give --schema FILE (a .proto, or what buf build -o set.binpb writes)")
		}
	}
}

func (in *instance) wait(ctx context.Context) sluice.Status {
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	end := time.Now().Add(patience)
	for {
		st := in.gateway.Status()
		pending := slices.ContainsFunc(st.Backends, func(b sluice.BackendStatus) bool {
			return !b.Ready && strings.HasPrefix(reason(&b), stillConnecting) || b.Ready && b.SchemaSource == "" && b.SchemaError == ""
		})
		if !pending || time.Now().After(end) {
			return st
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return st
		}
	}
}

const protocols = "gRPC, gRPC-Web, Connect and REST over HTTP/1.1 and HTTP/2"

// table is what a person sees at the start.
func (in *instance) table(st sluice.Status) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, value, more string) { fmt.Fprintf(w, "  %s\t%s\t%s\n", name, value, more) }

	fmt.Fprintf(w, "sluice %s, serving after %d ms\n\n", version(), time.Since(in.began).Milliseconds())
	if in.plain != nil {
		row("listen", "http://"+shown(in.plain), protocols)
	}
	if in.tls != nil {
		more := protocols
		if len(in.quic) > 0 {
			more += ", HTTP/3 with WebTransport"
		}
		if in.config.TLS.ClientCA != "" {
			more += ", client certificates required"
		}
		row("listen", "https://"+shown(in.tls), more)
	}
	switch {
	case in.dev == nil:
	case in.dev.AuthorityFile() == "":
		row("authority", "in memory", "--tls-dev keeps one that can be trusted; pages know HTTP/3 by hashes")
	default:
		row("authority", in.dev.AuthorityFile(), "`sluice trust` makes browsers and programs trust it")
	}
	if path := in.config.Duplex.Path; path != config.Off {
		carriers := "WebSocket, HTTP duplex"
		if len(in.quic) > 0 {
			carriers = "WebTransport, " + carriers
		}
		row("duplex", path, carriers+"; /.well-known/sluice tells clients where")
	}
	if in.admin != nil {
		row("admin", "http://"+shown(in.admin), "/livez /readyz /metrics /docs")
	}
	cors := "no other origin (--cors-origin)"
	if o := in.config.CORSOrigins; len(o) > 0 {
		cors = strings.Join(o, " ")
	}
	row("browsers", "pages of", cors)
	for i := range st.Backends {
		row("backend", st.Backends[i].Target, describe(&st.Backends[i]))
	}
	if st.Methods > 0 {
		row("methods", fmt.Sprint(st.Methods), "known from descriptors")
	}
	l := func(key string) string { return in.config.Setting("limits." + key) }
	row("limits", "message "+l("message_bytes"), fmt.Sprintf("headers %s, calls a connection %s, connections %s, waiting for a backend %s",
		l("header_bytes"), l("streams_per_conn"), l("conns"), l("held_calls")))
	_ = w.Flush()
	b.WriteString("\n  try next:\n")
	for _, line := range in.tryNext(st) {
		b.WriteString("    " + line + "\n")
	}
	b.WriteString("\n")
	return b.String()
}

// describe says how a backend does, in half a line.
func describe(b *sluice.BackendStatus) string {
	state := "ready"
	if !b.Ready {
		why := reason(b)
		state = "not ready: " + why
		if do := hint(b.Target, why); do != "" {
			state += ": " + do
		}
	}
	switch {
	case len(b.Services) > 0:
		s := b.Services
		more := ""
		if len(s) > 6 {
			s, more = s[:6], fmt.Sprintf(" and %d more", len(b.Services)-6)
		}
		state += ": " + strings.Join(s, " ") + more
	case b.SchemaError != "":
		if b.Ready {
			state += ", no schema: " + b.SchemaError
		}
	}
	if b.SchemaSource != "" {
		state += " (by " + b.SchemaSource + ")"
	}
	return state
}

const grpcurl = "go run github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"

// tryNext are commands to paste.
func (in *instance) tryNext(st sluice.Status) []string {
	if in.plain == nil {
		return []string{grpcurl + " -insecure " + shown(in.tls) + " list"}
	}
	addr := shown(in.plain)
	if in.demo != nil {
		return []string{
			"open http://" + addr + "/ in a browser",
			"curl http://" + addr + "/v1/echo/hello",
			"curl -H 'Accept: text/event-stream' 'http://" + addr + "/v1/ticker?count=3'",
			grpcurl + " -plaintext " + addr + " " + demo.Service + "/Ticker",
			"curl http://" + addr + "/.well-known/sluice",
		}
	}
	for i := range st.Backends {
		if b := &st.Backends[i]; len(b.Services) > 0 && b.SchemaSource != "" {
			return []string{grpcurl + " -plaintext " + addr + " describe " + b.Services[0]}
		}
	}
	return []string{grpcurl + " -plaintext " + addr + " list"}
}

// logStart says the same to a program.
func (in *instance) logStart(st sluice.Status) {
	args := []any{"version", version()}
	if in.plain != nil {
		args = append(args, "listen", in.plain.Addr().String())
	}
	if in.tls != nil {
		args = append(args, "tls_listen", in.tls.Addr().String(), "http3", len(in.quic) > 0)
	}
	if in.admin != nil {
		args = append(args, "admin", in.admin.Addr().String())
	}
	if in.dev != nil {
		args = append(args, "authority", in.dev.AuthorityFile())
	}
	var backends []string
	for i := range st.Backends {
		backends = append(backends, st.Backends[i].Target+" "+describe(&st.Backends[i]))
	}
	in.log.Info("serving", append(args, "backends", backends, "methods", st.Methods)...)
}
