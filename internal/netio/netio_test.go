package netio

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// pair returns two ends of a connection of each kind.
func pairs(t *testing.T) map[string]func() (Conn, net.Conn) {
	cert := certificate(t)
	tcp := func() (net.Conn, net.Conn) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		a, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		b, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Close(); b.Close() })
		return a, b
	}
	return map[string]func() (Conn, net.Conn){
		"tcp": func() (Conn, net.Conn) {
			a, b := tcp()
			return New(a), b
		},
		"tls": func() (Conn, net.Conn) {
			a, b := tcp()
			server := Server(a, &tls.Config{Certificates: []tls.Certificate{cert}})
			client := tls.Client(b, &tls.Config{InsecureSkipVerify: true})
			ended := make(chan error, 1)
			go func() { ended <- server.Handshake() }()
			if err := client.Handshake(); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			return New(server), client
		},
		"memory": func() (Conn, net.Conn) {
			a, b := net.Pipe()
			t.Cleanup(func() { a.Close(); b.Close() })
			return New(a), b
		},
	}
}

func certificate(t *testing.T) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestEcho sends more than sockets hold both ways at once, by the rule of the
// interface: try, and block only for what is left.
func TestEcho(t *testing.T) {
	for name, pair := range pairs(t) {
		t.Run(name, func(t *testing.T) {
			c, peer := pair()
			sent := make([]byte, 4<<20)
			rand.Read(sent)
			go peer.Write(sent)
			got := make(chan []byte)
			go func() {
				back := make([]byte, len(sent))
				if _, err := io.ReadFull(peer, back); err != nil {
					t.Error(err)
				}
				got <- back
			}()
			for left := len(sent); left > 0; {
				b, err := c.Read()
				if err != nil {
					t.Fatal(err)
				}
				left -= len(b.B)
				n, err := c.TryWrite(b.B)
				if err != nil {
					t.Fatal(err)
				}
				if n < len(b.B) || c.Pending() {
					if err := c.Write(b.B[n:]); err != nil {
						t.Fatal(err)
					}
				}
				b.Free()
			}
			if !bytes.Equal(<-got, sent) {
				t.Error("what came back is not what was sent")
			}
			if c.Pending() {
				t.Error("bytes are pending after Write")
			}
			peer.Close()
			if _, err := c.Read(); err == nil {
				t.Error("no error after the peer's close")
			}
		})
	}
}

func TestTryWriteNeverBlocks(t *testing.T) {
	for name, pair := range pairs(t) {
		t.Run(name, func(t *testing.T) {
			c, _ := pair()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for range 10000 {
					n, err := c.TryWrite(make([]byte, 16<<10))
					if err != nil || n == 0 {
						return
					}
				}
				t.Error("a peer that doesn't read takes everything")
			}()
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Fatal("TryWrite blocks")
			}
		})
	}
}

func TestReadDeadlineWakes(t *testing.T) {
	for name, pair := range pairs(t) {
		t.Run(name, func(t *testing.T) {
			c, peer := pair()
			time.AfterFunc(10*time.Millisecond, func() { c.SetReadDeadline(time.Unix(1, 0)) })
			if _, err := c.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			c.SetReadDeadline(time.Time{})
			go peer.Write([]byte("after"))
			b, err := c.Read()
			if err != nil || string(b.B) != "after" {
				t.Fatal(err)
			}
		})
	}
}

// TestTLSPieces cuts records anywhere: a part of a record is kept until the rest
// comes.
func TestTLSPieces(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	server := Server(in, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	client := tls.Client(&dribble{Conn: out}, &tls.Config{InsecureSkipVerify: true})
	go func() {
		client.Write([]byte("one record in many pieces"))
		client.Write([]byte(" and another"))
		client.Close()
	}()
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	c := New(server)
	var got []byte
	for {
		b, err := c.Read()
		if err != nil {
			if err != io.EOF {
				t.Error(err)
			}
			break
		}
		got = append(got, b.B...)
		b.Free()
	}
	if string(got) != "one record in many pieces and another" {
		t.Errorf("got %q", got)
	}
}

type dribble struct{ net.Conn }

func (d *dribble) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := d.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
		if i%7 == 0 {
			time.Sleep(50 * time.Microsecond)
		}
	}
	return len(p), nil
}

type flusher struct {
	n    atomic.Int32
	then func()
}

func (f *flusher) Flush() {
	f.n.Add(1)
	if f.then != nil {
		f.then()
	}
}

func TestWork(t *testing.T) {
	var w Work
	f := &flusher{}
	w.Add(f)
	if f.n.Load() != 1 {
		t.Error("nobody is inside, and it was not flushed at once")
	}
	w.Enter()
	g := &flusher{then: func() { w.Add(f) }}
	w.Add(g)
	if g.n.Load() != 0 {
		t.Error("flushed inside of a batch")
	}
	w.Leave()
	if f.n.Load() != 2 || g.n.Load() != 1 {
		t.Errorf("flushed %d and %d times, want 2 and 1", f.n.Load(), g.n.Load())
	}
}
