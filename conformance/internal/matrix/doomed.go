package matrix

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A DoomedBackend does what no gRPC library does: it ends inside of a message. It takes one call
// at a time on a connection, so that others don't end with it, and begins to play when the first
// message begins to come.
type DoomedBackend struct {
	Addr string

	l    net.Listener
	wg   sync.WaitGroup
	mu   sync.Mutex
	open map[net.Conn]bool
}

// ServeDoomed starts one on loopback.
func ServeDoomed() (*DoomedBackend, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &DoomedBackend{Addr: l.Addr().String(), l: l, open: map[net.Conn]bool{}}
	d.wg.Go(d.accept) // ends with Stop
	return d, nil
}

// Stop ends the server.
func (d *DoomedBackend) Stop() {
	_ = d.l.Close()
	d.mu.Lock()
	for c := range d.open {
		_ = c.Close()
	}
	d.mu.Unlock()
	d.wg.Wait()
}

func (d *DoomedBackend) accept() {
	for {
		c, err := d.l.Accept()
		if err != nil {
			return
		}
		d.mu.Lock()
		d.open[c] = true
		d.mu.Unlock()
		d.wg.Go(func() { // ends with the connection
			_ = d.serve(c)
			d.mu.Lock()
			delete(d.open, c)
			d.mu.Unlock()
			_ = c.Close()
		})
	}
}

func (d *DoomedBackend) serve(c net.Conn) error {
	r := bufio.NewReader(c)
	if _, err := r.Discard(len(http2.ClientPreface)); err != nil {
		return err
	}
	fr := http2.NewFramer(c, r)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := fr.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1}); err != nil {
		return err
	}
	scripts := map[uint32][]step{}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return err
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = fr.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				err = fr.WritePing(true, f.Data)
			}
		case *http2.MetaHeadersFrame:
			for _, h := range f.Fields {
				if h.Name == "x-script" {
					scripts[f.StreamID], err = parse(h.Value)
				}
			}
			if scripts[f.StreamID] == nil { // a call for reflection
				err = fr.WriteRSTStream(f.StreamID, http2.ErrCodeRefusedStream)
			}
		case *http2.DataFrame:
			if steps := scripts[f.StreamID]; steps != nil {
				delete(scripts, f.StreamID)
				err = act(fr, f.StreamID, steps)
			}
		}
		if err != nil {
			return err
		}
	}
}

// act plays a script. An error ends the connection.
func act(fr *http2.Framer, id uint32, steps []step) error {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	fields := func(end bool, pairs ...string) error {
		block.Reset()
		for i := 0; i < len(pairs); i += 2 {
			if err := enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}); err != nil {
				return err
			}
		}
		return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end})
	}
	if err := fields(false, ":status", "200", "content-type", "application/grpc+proto"); err != nil {
		return err
	}
	for i, p := range steps {
		var err error
		switch p.verb {
		case "send", "part":
			b := binary.BigEndian.AppendUint32([]byte{0}, uint32(p.size))
			b = append(b, Message(i, p.size)...)
			if p.verb == "part" {
				b = b[:len(b)/2]
			}
			err = fr.WriteData(id, false, b)
		case "die":
			return fmt.Errorf("as the script says")
		case "reset":
			err = fr.WriteRSTStream(id, http2.ErrCodeCancel)
		case "ok":
			err = fields(true, "grpc-status", "0")
		default:
			err = fmt.Errorf("no such step: %s", p.verb)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
