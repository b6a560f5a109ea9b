package backend

import (
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	for _, tt := range []struct {
		in, network, addr, authority string
		tls, dns                     bool
	}{
		{"localhost:50051", "tcp", "localhost:50051", "localhost:50051", false, false},
		{":50051", "tcp", "localhost:50051", "localhost:50051", false, false},
		{"[::1]:50051", "tcp", "[::1]:50051", "[::1]:50051", false, false},
		{"dns:443", "tcp", "dns:443", "dns:443", false, false}, // a host called dns
		{"http://a.test:80/", "tcp", "a.test:80", "a.test:80", false, false},
		{"https://a.test", "tcp", "a.test:443", "a.test", true, false},
		{"https://a.test/", "tcp", "a.test:443", "a.test", true, false},
		{"https://a.test:8443", "tcp", "a.test:8443", "a.test:8443", true, false},
		{"https://[::1]", "tcp", "[::1]:443", "[::1]", true, false},
		{"unix:/run/s.sock", "unix", "/run/s.sock", "localhost", false, false},
		{"unix:///run/s.sock", "unix", "/run/s.sock", "localhost", false, false},
		{"unix:s.sock", "unix", "s.sock", "localhost", false, false},
		{"dns:///a.test:50", "tcp", "a.test:50", "a.test:50", false, true},
		{"dns:a.test:50", "tcp", "a.test:50", "a.test:50", false, true},
		{"dns+https:///a.test:50", "tcp", "a.test:50", "a.test:50", true, true},
		{"dns+https:///a.test", "tcp", "a.test:443", "a.test", true, true},
	} {
		got, err := ParseTarget(tt.in)
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		if got.Network != tt.network || got.Addr() != tt.addr || got.Authority() != tt.authority || got.TLS != tt.tls || got.DNS != tt.dns || got.String() != tt.in {
			t.Errorf("%q: %+v, authority %q", tt.in, got, got.Authority())
		}
		if (got.Scheme() == "https") != tt.tls {
			t.Errorf("%q: scheme %q", tt.in, got.Scheme())
		}
	}
}

func TestParseTargetErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                       `is empty: give an address such as "localhost:50051"`,
		"a b:1":                  "has a space in it",
		"localhost":              `"localhost" has no port: write "localhost:50051", or "https://localhost" for TLS on port 443`,
		"50052":                  `has no port: write "localhost:50052"`,
		"::1:50051":              "needs brackets",
		"localhost:grpc":         `"grpc" is not a port (1 to 65535)`,
		"localhost:0":            "is not a port",
		"localhost:65536":        "is not a port",
		"http://localhost":       `has no port: write "http://localhost:50051"`,
		"https://":               "has no host",
		"https://u@a.test":       "has a user name",
		"https://a.test/p":       `has a path: gRPC servers have none, write "https://a.test"`,
		"https:a.test":           "lacks the slashes",
		"ftp://a.test:1":         `unknown scheme "ftp"`,
		"grpc://a.test:1":        "use host:port, https://, http://, unix: or dns:///",
		"unix:":                  "has no path",
		"unix://host/run/s.sock": "names a host",
		"dns://8.8.8.8/a.test:1": "names a DNS server, which is not supported",
		"dns:///a.test":          `has no port: write "dns:///server.example:50051"`,
		"dns:///:50":             "has no name to resolve",
		"a/b:1":                  "is not a host",
		"https://]0":             "is not a host",
	} {
		_, err := ParseTarget(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", in, err, want)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"localhost:1", "https://a", "unix:/x", "dns:///a:1", "dns+https:///a", "[::1]:2", "unix://", "dns:", ":", "[", "https://[", "http://]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tg, err := ParseTarget(s)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "backend target ") {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if tg.Network == "unix" {
			if tg.Path == "" {
				t.Errorf("%q: no path", s)
			}
			return
		}
		if tg.Host == "" || !isPort(tg.Port) {
			t.Fatalf("%q: %+v", s, tg)
		}
		// What was understood, written plainly, means the same.
		prefix := map[[2]bool]string{{false, false}: "", {true, false}: "https://", {false, true}: "dns:///", {true, true}: "dns+https:///"}
		again, err := ParseTarget(prefix[[2]bool{tg.TLS, tg.DNS}] + tg.Addr())
		if err != nil || again.Addr() != tg.Addr() || again.TLS != tg.TLS || again.DNS != tg.DNS {
			t.Errorf("%q: %+v, again %+v, %v", s, tg, again, err)
		}
	})
}
