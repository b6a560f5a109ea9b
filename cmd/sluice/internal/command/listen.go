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
