// Command cursors shows pages the cursors of all others, by messages that may be lost: what comes late is of
// no use.
package main

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"

	"github.com/sluice-rpc/sluice"
	pb "github.com/sluice-rpc/sluice/examples/cursors/cursorspb"
	"github.com/sluice-rpc/sluice/h3"
)

// cursors tells each page what the others say.
type cursors struct {
	pb.UnimplementedCursorsServer

	mu    sync.Mutex
	last  uint32 // the id that was given last
	pages map[uint32]chan *pb.Cursor
}

func (c *cursors) Share(stream grpc.BidiStreamingServer[pb.Cursor, pb.Cursor]) error {
	c.mu.Lock()
	c.last++
	id, others := c.last, make(chan *pb.Cursor, 64)
	c.pages[id] = others
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.pages, id)
	}()

	ended := make(chan error, 1)
	go func() { ended <- c.listen(id, stream) }() // until Share returns, which ends the stream
	for {
		select {
		case err := <-ended:
			return err
		case m := <-others:
			if err := stream.Send(m); err != nil {
				return err
			}
		}
	}
}

func (c *cursors) listen(id uint32, stream grpc.BidiStreamingServer[pb.Cursor, pb.Cursor]) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		m.Id = id
		c.tell(m)
	}
}

func (c *cursors) tell(m *pb.Cursor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, page := range c.pages {
		if id == m.GetId() {
			continue
		}
		select {
		case page <- m:
		default: // it is behind; another one comes soon
		}
	}
}

func main() {
	server := grpc.NewServer()
	pb.RegisterCursorsServer(server, &cursors{pages: map[uint32]chan *pb.Cursor{}})
	reflection.Register(server) // tells the gateway that both directions stream: only those have datagrams

	cert, hash, err := newCertificate()
	if err != nil {
		log.Fatal(err)
	}
	files := http.FileServer(http.Dir("dist")) // what Vite has built
	gateway, err := sluice.New(sluice.Config{
		Backends:  []sluice.Backend{{Handler: server}},
		Handlers:  map[string]http.Handler{"/": files, "/assets/": files},
		HTTP3:     h3.New(h3.Config{}),
		Discovery: sluice.Discovery{CertificateHashes: func() [][sha256.Size]byte { return [][sha256.Size]byte{hash} }},
	})
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "localhost:"+cmp.Or(os.Getenv("PORT"), "8080"))
	if err != nil {
		log.Fatal(err)
	}
	packets, err := net.ListenPacket("udp", listener.Addr().String()) // for WebTransport
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(gateway.ServeQUIC(packets, &tls.Config{Certificates: []tls.Certificate{cert}})) }() // until the program ends
	fmt.Printf("http://%s/\n", listener.Addr())
	log.Fatal(gateway.Serve(listener))
}
