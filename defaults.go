package sluice

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime/debug"
	"strings"
	"time"
)

// defaultLimits and defaultTimeouts are what zero means; docs/reference/limits.md lists
// them, checked by a test.
var (
	defaultLimits = Limits{
		MessageBytes: 4 << 20, HeaderBytes: 16 << 10, BackendHeaderBytes: 64 << 10, StreamsPerConn: 250, Conns: 65536,
		ConnBufferBytes: 1 << 20, BufferBytes: 256 << 20, HeldCalls: 10000, DecompressionRatio: 100, ConnAbuse: 1000,
		WaitingCalls: 10000, WaitingBytes: 4 << 20,
		DuplexSessions: 16384, DuplexClientSessions: 1000, DuplexUploads: 32, DuplexAheadBytes: 256 << 10,
		Tickets: 4096,
	}
	defaultTimeouts = Timeouts{
		Handshake: 10 * time.Second, Header: 10 * time.Second, Idle: 5 * time.Minute, Stall: time.Minute,
		Ready: 10 * time.Second, Dial: 5 * time.Second, FirstByte: -1, Drain: 30 * time.Second,
		KeepAlive: 30 * time.Second, SettingAck: 10 * time.Second, StreamHead: 250 * time.Millisecond, Heartbeat: 15 * time.Second,
		Ticket: 30 * time.Second,
	}
)

// defaultPing is both times of a WebSocket.
const defaultPing = 15 * time.Second

// defaultDuplexPath is where the gateway's own carriers are reached.
const defaultDuplexPath = "/sluice/v1"

// off is what is written for a path where nothing is wanted.
const off = "off"

// minKeepAlive is what grpc servers tolerate at most (too_many_pings).
const minKeepAlive = 10 * time.Second

// withDefaults returns the configuration with every default filled in, or says what is
// wrong with it.
func (c Config) withDefaults() (Config, error) {
	if len(c.Backends) == 0 {
		return c, errors.New("no backend: give at least one, such as localhost:50051")
	}
	if c.Limits.BufferBytes == 0 {
		// A quarter of the memory limit, if there is one.
		if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
			c.Limits.BufferBytes = max(int(limit/4), defaultLimits.BufferBytes)
		}
	}
	limits := reflect.ValueOf(&c.Limits).Elem()
	for i := range limits.NumField() {
		switch f := limits.Field(i); {
		case f.Int() == 0:
			f.Set(reflect.ValueOf(defaultLimits).Field(i))
		case f.Int() < 0 || f.Int() > math.MaxInt32 && limits.Type().Field(i).Name != "BufferBytes":
			return c, fmt.Errorf("limit %s is %d: it has to be between 1 and %d", limits.Type().Field(i).Name, f.Int(), math.MaxInt32)
		}
	}
	for _, d := range []*time.Duration{&c.WebSocket.Ping, &c.WebSocket.PingTimeout} {
		switch {
		case *d == 0:
			*d = defaultPing
		case *d < 0:
			*d = 0 // never
		}
	}
	if c.Duplex.Path == "" {
		c.Duplex.Path = defaultDuplexPath
	}
	if p := c.Duplex.Path; p != off && (p[0] != '/' || strings.ContainsAny(p, "?#")) {
		return c, fmt.Errorf("path of Duplex is %q: it has to begin with a slash, and has no query", p)
	}
	for d, otherwise := range map[*time.Duration]time.Duration{&c.Duplex.Ping: 20 * time.Second, &c.Duplex.Detach: time.Minute, &c.Duplex.Poll: 20 * time.Second, &c.Duplex.PollGap: 30 * time.Second} {
		switch {
		case *d == 0:
			*d = otherwise
		case *d < 0:
			return c, fmt.Errorf("a time of Duplex is %v: it has to be positive", *d)
		}
	}
	timeouts := reflect.ValueOf(&c.Timeouts).Elem()
	for i := range timeouts.NumField() {
		f := timeouts.Field(i)
		if f.Int() == 0 {
			f.Set(reflect.ValueOf(defaultTimeouts).Field(i))
		}
		if f.Int() < 0 {
			f.SetInt(0) // never
		}
	}
	if k := c.Timeouts.KeepAlive; k > 0 && k < minKeepAlive {
		return c, fmt.Errorf("timeout KeepAlive is %v: grpc servers end connections that send PINGs more often than every %v", k, minKeepAlive)
	}
	if c.Timeouts.Ticket == 0 {
		return c, errors.New("timeout Ticket is never: tickets stand in URLs, so they have to end")
	}
	return c, nil
}
