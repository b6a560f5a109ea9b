// Command http2-duplex gives back to each page what it writes. It knows nothing of gRPC: a client is a
// net.Conn.
package main

import (
	"cmp"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/sluice-rpc/sluice/duplex"
)

func main() {
	handler, err := duplex.New(duplex.Options{
		Path:  "/echo",
		Serve: func(c *duplex.Conn) { _, _ = io.Copy(c, c) }, // until the client has left
		Next:  http.FileServer(http.Dir("dist")),             // what Vite has built
	})
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "localhost:"+cmp.Or(os.Getenv("PORT"), "8080"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s/\n", listener.Addr())
	log.Fatal(http.Serve(listener, handler))
}
