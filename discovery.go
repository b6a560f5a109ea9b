package sluice

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/sluice-rpc/sluice/internal/blocking"
	"github.com/sluice-rpc/sluice/internal/exchange"
	"github.com/sluice-rpc/sluice/rpc"
)

// Discovery is what clients are told at /.well-known/sluice that a gateway does not know by
// itself (docs/protocols/discovery.md). The zero value will do.
type Discovery struct {
	// CertificateHashes returns those of the certificate of ServeQUIC and of the next one, if
	// browsers can know it only by its hash. It is called for each request.
	CertificateHashes func() [][sha256.Size]byte
	// Avoid replaces the list of browsers that a carrier does not work well with, unless it is
	// nil.
	Avoid []Avoid
}

// Avoid says that browsers should not use a carrier.
type Avoid struct {
	Carrier string `json:"carrier"`         // "webtransport", "websocket" or "duplex"
	Browser string `json:"browser"`         // "chromium", "firefox" or "safari"
	From    string `json:"from,omitempty"`  // the first version, "" is all
	Below   string `json:"below,omitempty"` // the first version that is good again, "" is none
	Reason  string `json:"reason"`
}

// defaultAvoid is what is known of browsers, each with its source.
var defaultAvoid = []Avoid{
	// github.com/moq-dev/moq#2417: flow control credit is never refilled; #2388: no streams after
	// some thousands; #2184: datagrams end the session. Seen in Safari 26.4 to 26.6.
	{Carrier: carrierWebTransport, Browser: "safari", Reason: "streams stall after some megabytes, and sessions after some thousand streams"},
}

const (
	discoveryPath       = "/.well-known/sluice"
	carrierWebTransport = "webtransport"
)

// preference is what the names of carriers are, and which a client tries first.
var preference = []string{carrierWebTransport, "websocket", "duplex"}

// A riding is a carrier of the duplex protocol that has a row in the table.
type riding struct {
	Name         string   `json:"name"`
	Protocol     string   `json:"protocol"`
	URL          string   `json:"url"`
	Ticket       string   `json:"ticket,omitempty"`
	Certificates []digest `json:"certificates,omitempty"`
}

type digest struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"value"`
}

// discovered is the document.
type discovered struct {
	Version  int      `json:"version"`
	Carriers []riding `json:"carriers"`
	Limits   struct {
		Message int `json:"message"`
		Window  int `json:"window"`
		Calls   int `json:"calls"`
		Fields  int `json:"fields"`
	} `json:"limits"`
	Avoid []Avoid `json:"avoid"`
}

// quicPorts are where clients reach HTTP/3 now, by what is announced to them.
type quicPorts struct {
	mu  sync.RWMutex
	all []quicPort
}

type quicPort struct {
	port int
	ip   net.IP // of the socket; nil if it is not known
}

// add notes a socket, by its Alt-Svc, until it is taken back.
func (q *quicPorts) add(altSvc string, addr net.Addr) (remove func()) {
	p := quicPort{}
	if _, err := fmt.Sscanf(altSvc, `h3=":%d"`, &p.port); err != nil {
		return func() {}
	}
	if u, ok := addr.(*net.UDPAddr); ok {
		p.ip = u.IP
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all = append(q.all, p)
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		i := slices.IndexFunc(q.all, func(o quicPort) bool { return o.port == p.port && o.ip.Equal(p.ip) })
		q.all = slices.Delete(slices.Clone(q.all), i, i+1)
	}
}

// url is where a path is over HTTP/3, for a client that asked host, over TLS or not; "" if
// nowhere.
func (q *quicPorts) url(host string, secure bool, path string) string {
	q.mu.RLock()
	all := q.all
	q.mu.RUnlock()
	if len(all) == 0 || host == "" {
		return ""
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), ""
	}
	if port == "" && secure {
		port = "443"
	}
	here := slices.IndexFunc(all, func(p quicPort) bool { return strconv.Itoa(p.port) == port })
	p := all[max(here, 0)]
	if ip := onlyLoopback(all, p.port); ip != nil && (name == "localhost" || strings.HasSuffix(name, ".localhost")) {
		name, here = ip.String(), -1
	}
	if here >= 0 && secure {
		return path
	}
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	if p.port != 443 {
		name += ":" + strconv.Itoa(p.port)
	}
	return "https://" + name + path
}

// onlyLoopback returns the address of a port whose only socket is on one loopback address.
// Chromium does not try the other family if it gets no answer from the first.
func onlyLoopback(all []quicPort, port int) (ip net.IP) {
	for _, p := range all {
		switch {
		case p.port != port:
		case ip != nil || !p.ip.IsLoopback():
			return nil
		default:
			ip = p.ip
		}
	}
	return ip
}

// discovery is the row of the table for clients that ask what there is.
func (g *Gateway) discovery() row {
	return row{
		name: "discovery",
		match: func(head *exchange.RequestHead) bool {
			path, _, _ := strings.Cut(head.Path, "?")
			return path == discoveryPath && head.Protocol == ""
		},
		handler: blocking.Handler(http.HandlerFunc(g.discover), blocking.Options{Work: g.work, Stall: g.cfg.Timeouts.Stall}),
	}
}

// discover writes the document.
func (g *Gateway) discover(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "ask by GET what carriers there are", http.StatusMethodNotAllowed)
		return
	}
	b, err := json.MarshalIndent(g.discovered(r.Host, r.TLS != nil), "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "max-age=60")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(append(b, '\n')) // a client that is gone needs no answer
}

// discovered says what there is now.
func (g *Gateway) discovered(host string, secure bool) (d discovered) {
	d.Version, d.Carriers, d.Avoid = 1, []riding{}, g.cfg.Discovery.Avoid
	if d.Avoid == nil {
		d.Avoid = defaultAvoid
	}
	l := &g.cfg.Limits
	d.Limits.Message, d.Limits.Window, d.Limits.Calls, d.Limits.Fields = l.MessageBytes, rpc.WindowDefault, l.StreamsPerConn, l.HeaderBytes
	for _, c := range g.byPreference() {
		if c.Name == carrierWebTransport {
			if c.URL = g.quic.url(host, secure, c.URL); c.URL == "" {
				continue
			}
			c.Certificates = g.certificateHashes()
		}
		d.Carriers = append(d.Carriers, c)
	}
	return d
}

// byPreference are the carriers, best first.
func (g *Gateway) byPreference() []riding {
	return slices.SortedStableFunc(slices.Values(g.riding), func(a, b riding) int {
		return slices.Index(preference, a.Name) - slices.Index(preference, b.Name)
	})
}

func (g *Gateway) certificateHashes() (all []digest) {
	if g.cfg.Discovery.CertificateHashes == nil {
		return nil
	}
	for _, h := range g.cfg.Discovery.CertificateHashes() {
		all = append(all, digest{"sha-256", base64.StdEncoding.EncodeToString(h[:])})
	}
	return all
}
