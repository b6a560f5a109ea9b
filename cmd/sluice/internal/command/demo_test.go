package command

import (
	"net"
	"testing"

	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
)

func TestDemoTLS(t *testing.T) {
	for _, c := range []struct {
		listen, want string
		change       func(*config.Config)
	}{
		{":8080", ":8443", nil},
		{"127.0.0.1:0", "127.0.0.1:0", nil},
		{"[::1]:80", "[::1]:8443", nil},
		{"off", ":8443", nil},
		{":8080", "", func(c *config.Config) { c.TLS.HTTP3 = config.Off }},
		{":8080", "off", func(c *config.Config) { c.TLS.Listen = config.Off }},
		{":8080", ":1", func(c *config.Config) { c.TLS.Listen = ":1" }},
	} {
		cfg := config.New()
		cfg.Listen = c.listen
		if c.change != nil {
			c.change(cfg)
		}
		demoTLS(cfg)
		if got := cfg.TLS.Address(); got != c.want || cfg.TLS.Temporary != (c.change == nil) {
			t.Errorf("%+v: %q, temporary %v", c, got, cfg.TLS.Temporary)
		}
	}
}

// A second demo finds another port.
func TestDemoPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := config.New()
	cfg.Listen, cfg.Admin = config.Off, config.Off
	cfg.TLS = config.ServerTLS{Dev: true, Listen: taken.Addr().String()}
	in := &instance{config: cfg}
	if err := in.listen(); err == nil {
		t.Fatal("two listeners on one port")
	}
	cfg.TLS.Temporary = true
	if err := in.listen(); err != nil {
		t.Fatal(err)
	}
	defer in.close()
	if in.tls.Addr().String() == taken.Addr().String() || len(in.quic) == 0 {
		t.Errorf("at %s, %d sockets", in.tls.Addr(), len(in.quic))
	}
}
