package schema

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-rpc/sluice/rpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Limits of what a backend may answer with. Its descriptors are what it likes: they may
// be wrong, and it may be somebody else's, but they don't take the gateway with them.
const (
	maxFiles   = 4096      // files; also services, and names asked for
	maxMessage = 4 << 20   // one answer
	maxTotal   = 64 << 20  // all answers: some servers send the imports again with every file
	maxCost    = 128 << 20 // memory that the descriptors take, by estimate
)

// ErrNoReflection is the error of a backend that does not offer server reflection.
var ErrNoReflection = errors.New("the backend does not offer server reflection: register it on the server, or give descriptors by --schema FILE")

// Reflect asks a backend for its services by server reflection, v1 and else v1alpha
// (https://github.com/grpc/grpc/blob/master/doc/server-reflection.md). If it says what
// it said for old, which may be nil, the answer is old itself, and nothing is built.
func Reflect(ctx context.Context, backend rpc.Handler, old *Schema) (*Schema, error) {
	s, err := reflectBy(ctx, backend, reflectionV1, old)
	if unimplemented(err) {
		s, err = reflectBy(ctx, backend, reflectionV1Alpha, old)
	}
	if unimplemented(err) {
		return nil, ErrNoReflection
	}
	return s, err
}

func unimplemented(err error) bool {
	var st rpc.Status
	return errors.As(err, &st) && st.Code == rpc.Unimplemented
}

func reflectBy(ctx context.Context, backend rpc.Handler, service string, old *Schema) (*Schema, error) {
	r := newReflection(ctx, backend, service)
	defer r.close()
	services, err := r.services(ctx)
	if err != nil {
		return nil, err
	}
	c := &collection{files: map[string]*file{}, has: map[string]bool{}, named: map[string]bool{}}
	if err := c.ask(ctx, r, services); err != nil {
		return nil, err
	}
	return c.build(services, old)
}

// A collection is what a backend has said so far.
type collection struct {
	files   map[string]*file
	order   []*file
	has     map[string]bool // services that a file has
	named   map[string]bool // files that were imported
	missing []string        // those of them that were not asked for
	reason  string          // why a service was refused
}

// ask asks for the files of services, and then for those that they import.
func (c *collection) ask(ctx context.Context, r *reflection, services []string) error {
	// A file often has several services, and many servers send the imports along: what
	// came already is not asked for.
	err := r.each(ctx, 4, services, func(name string) bool { return !c.has[name] }, func(a *answer) error { // file_containing_symbol
		if a.code != 0 {
			c.reason = a.message // others may be described
			return nil
		}
		return c.take(a)
	})
	for len(c.missing) > 0 && err == nil {
		names := c.missing
		c.missing = nil
		wanted := func(name string) bool { return c.files[name] == nil }
		err = r.each(ctx, 3, names, wanted, func(a *answer) error { // file_by_filename
			if a.code != 0 {
				return nil // what is missing may be an option's
			}
			return c.take(a)
		})
	}
	return err
}

// take takes the files of an answer. Whatever was asked for, a file is what it says it
// is; of two with the same name the first counts.
func (c *collection) take(a *answer) error {
	for _, raw := range a.files {
		name, err := fileName(raw)
		if err != nil {
			return err
		}
		if c.files[name] != nil {
			continue
		}
		f, err := scan(raw)
		if err != nil {
			return err
		}
		if len(c.files) >= maxFiles {
			return fmt.Errorf("reflection: more than %d files", maxFiles)
		}
		c.files[name] = f
		c.order = append(c.order, f)
		for _, s := range f.services {
			c.has[s] = true
		}
		for _, name := range f.imports {
			if c.named[name] {
				continue
			}
			if len(c.named) >= maxFiles {
				return fmt.Errorf("reflection: more than %d imports", maxFiles)
			}
			c.named[name] = true
			c.missing = append(c.missing, name)
		}
	}
	return nil
}

func fileName(raw []byte) (name string, err error) {
	err = fields(raw, func(num protowire.Number, _ uint64, data []byte) error {
		if num == 1 && data != nil {
			name = string(data)
		}
		return nil
	})
	return name, err
}

// build makes a Schema of the files, unless they are those of old.
func (c *collection) build(services []string, old *Schema) (*Schema, error) {
	slices.SortFunc(c.order, func(a, b *file) int { return strings.Compare(a.name, b.name) })
	answers := c.fingerprint(services)
	if old != nil && old.answers == answers {
		return old, nil
	}
	if len(c.files) == 0 && len(services) > 0 {
		return nil, fmt.Errorf("reflection: the backend lists the service %q and has no descriptor of it: %s", services[0], c.reason)
	}
	cost := 0
	for _, f := range c.order {
		n, err := f.cost()
		if err != nil {
			return nil, err
		}
		if cost += n; cost > maxCost {
			return nil, fmt.Errorf("reflection: %w", errCost)
		}
	}
	all := make([]*descriptorpb.FileDescriptorProto, 0, len(c.order))
	for _, f := range c.order {
		d := &descriptorpb.FileDescriptorProto{}
		if err := unmarshal.Unmarshal(f.raw, d); err != nil {
			return nil, fmt.Errorf("reflection: file %q is broken: %w", f.name, err)
		}
		all = append(all, d)
	}
	s, err := fromFiles(all, services, old)
	if err != nil || s == old {
		return s, err
	}
	s.answers = answers
	return s, nil
}

// fingerprint tells answers apart by their bytes. The files are sorted.
func (c *collection) fingerprint(services []string) (sum [sha256.Size]byte) {
	h := sha256.New()
	part := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	for _, name := range services {
		part([]byte(name))
	}
	part(nil)
	for _, f := range c.order {
		part(f.raw)
	}
	h.Sum(sum[:0])
	return sum
}
