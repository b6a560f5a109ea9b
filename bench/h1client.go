package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// runH1 makes calls of gRPC-Web or REST over one HTTP/1.1 connection, one after the
// other, as a browser does.
func runH1(l load, count *counter, seed uint64) error {
	nc, err := dial(l, "http/1.1")
	if err != nil {
		return err
	}
	defer nc.Close() //nolint:errcheck // it only ends
	c := caller{rand: rand.New(rand.NewPCG(seed, 7)), contentType: l.contentType()}
	msg := l.request()
	br := bufio.NewReaderSize(nc, 16<<10)
	var out bytes.Buffer
	for !count.stopped.Load() {
		begin := time.Now()
		out.Reset()
		fmt.Fprintf(&out, "POST %s HTTP/1.1\r\nHost: echo.example.com\r\nContent-Length: %d\r\nX-Grpc-Web: 1\r\n", l.path, len(msg))
		c.metadata(func(name, value string) {
			if name != "te" { // a browser may not
				fmt.Fprintf(&out, "%s: %s\r\n", name, value)
			}
		})
		out.WriteString("\r\n")
		out.Write(msg)
		_ = nc.SetDeadline(time.Now().Add(stuck))
		if _, err := nc.Write(out.Bytes()); err != nil {
			return err
		}
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK || !l.answered(body, len(msg)) {
			return fmt.Errorf("%s: %q", resp.Status, body)
		}
		count.add(time.Since(begin))
	}
	return nil
}
