package command

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// listen opens a listener for a flag, and says what to do if it can't.
func listen(flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return l, nil
	}
	host, port, _ := net.SplitHostPort(addr) // it has been checked
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: the port is in use: stop the program that has it (`ss -ltnp 'sport = :%s'` shows it) or choose another, as --%s %s",
			addr, port, flag, net.JoinHostPort(host, otherPort(port)))
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listen on %s: this user may not use port %s: choose one from 1024, as --%s %s, or give the program CAP_NET_BIND_SERVICE",
			addr, port, flag, net.JoinHostPort(host, otherPort("8"+port)))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("listen on %s: this machine has no address %s: leave it out for all addresses, as --%s :%s", addr, host, flag, port)
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return nil, fmt.Errorf("listen on %s: the name %s has no address: leave it out for all addresses, as --%s :%s", addr, host, flag, port)
	}
	return nil, fmt.Errorf("listen on %s: %w", addr, err)
}

// twins opens the sockets of HTTP/3: the same port as that of a listener, and the same
// addresses. localhost has two, and browsers try one only.
func twins(addr string, l net.Listener) ([]net.PacketConn, error) {
	tcp, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("HTTP/3 needs a port: %s has none", l.Addr())
	}
	network, host := "udp", tcp.IP.String()
	if tcp.IP.IsUnspecified() && tcp.IP.To4() == nil {
		host = "" // both families, as the listener
	}
	first, err := net.ListenPacket(network, net.JoinHostPort(host, strconv.Itoa(tcp.Port)))
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("listen on %s for HTTP/3: port %d of UDP is in use: stop the program that has it (`ss -lunp 'sport = :%d'` shows it), or do without by --http3 off",
				addr, tcp.Port, tcp.Port)
		}
		return nil, fmt.Errorf("listen on %s for HTTP/3 (--http3 off does without): %w", addr, err)
	}
	all := []net.PacketConn{first}
	if name, _, _ := net.SplitHostPort(addr); name == "localhost" && tcp.IP.To4() != nil {
		if second, err := net.ListenPacket("udp6", net.JoinHostPort("::1", strconv.Itoa(tcp.Port))); err == nil {
			all = append(all, second) // without IPv6 there is none
		}
	}
	return all, nil
}

// listenTLS opens the listener with TLS and, if they are wanted, the sockets of HTTP/3. Where
// the system chooses the port it has to be free for both.
func listenTLS(addr string, http3 bool) (l net.Listener, quic []net.PacketConn, err error) {
	const tries = 10
	for n := 1; ; n++ {
		if l, err = listen("tls-listen", addr); err != nil || !http3 {
			return l, nil, err
		}
		if quic, err = twins(addr, l); err == nil {
			return l, quic, nil
		}
		_ = l.Close()
		if _, port, _ := net.SplitHostPort(addr); port != "0" || n == tries {
			return nil, nil, err
		}
	}
}

func otherPort(port string) string {
	n, err := strconv.Atoi(port)
	if err != nil || n >= 1<<16-1 || n < 1024 {
		return "8081"
	}
	return strconv.Itoa(n + 1)
}

// shown is the address of a listener as one would type it on this machine.
func shown(l net.Listener) string {
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return l.Addr().String()
	}
	if addr.IP.IsUnspecified() {
		return net.JoinHostPort("localhost", strconv.Itoa(addr.Port))
	}
	return addr.String()
}

func isLoopback(l net.Listener) bool {
	addr, ok := l.Addr().(*net.TCPAddr)
	return ok && addr.IP.IsLoopback()
}
