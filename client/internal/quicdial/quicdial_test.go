package quicdial

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// A server that refuses because it is busy is asked again, until the time is up.
func TestRefused(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	var attempts, refuse atomic.Int32
	transport := &quic.Transport{Conn: udp, ConnContext: func(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
		if attempts.Add(1) <= refuse.Load() {
			return nil, errors.New("busy")
		}
		return ctx, nil
	}}
	defer transport.Close()
	l, err := transport.Listen(&tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"h3"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u := &url.URL{Scheme: "https", Host: udp.LocalAddr().String()}
	insecure := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // its own certificate
	refuse.Store(3)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := Dial(ctx, u, insecure, &quic.Config{})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.CloseWithError(NoError, "")
	if n := attempts.Load(); n < 4 {
		t.Errorf("%d attempts", n)
	}
	// Without end it gives up with the context, and says why.
	refuse.Store(1 << 30)
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = Dial(short, u, insecure, &quic.Config{})
	var refused *quic.TransportError
	if !errors.As(err, &refused) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	// Who sets no time is told at once.
	if _, err = Dial(t.Context(), u, insecure, &quic.Config{}); !errors.As(err, &refused) || refused.ErrorCode != quic.ConnectionRefused {
		t.Errorf("got %v", err)
	}
}
