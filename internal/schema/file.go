package schema

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Limits of one file descriptor of a peer.
const (
	// maxName bounds a name: of a file, a service, a message. Full names are made of
	// those around them, so long ones would be copied into every element.
	maxName = 1 << 10
	// maxNesting bounds messages in messages; protoc itself stops at 32 or so.
	maxNesting = 32
)

// What an element of a descriptor costs in memory, at least. A byte or two make one, so
// the size of a file says nothing of what comes of it.
const (
	elementCost = 768 // the message and what protodesc makes of it
	leafCost    = 32  // a string of a list
	optionCost  = 64  // a byte of options, which may be a message every two
)

// A file is a serialized FileDescriptorProto of a peer, with what has to be known
// before anything is made of it.
type file struct {
	raw      []byte
	name     string
	imports  []string
	services []string // full names
}

// part is a kind of message in descriptor.proto, by the numbers of the fields that
// hold further parts.
type part struct {
	parts   map[protowire.Number]*part
	options protowire.Number
	name    protowire.Number
}

// The messages of descriptor.proto that hold others.
var (
	filePart = &part{name: 2, options: 8, parts: map[protowire.Number]*part{
		4: messagePart, 5: enumPart, 6: servicePart, 7: fieldPart, 9: infoPart}}
	messagePart = func() *part {
		p := &part{name: 1, options: 7, parts: map[protowire.Number]*part{
			2: fieldPart, 4: enumPart, 5: rangePart, 6: fieldPart, 8: oneofPart, 9: rangePart}}
		p.parts[3] = p
		return p
	}()
	fieldPart   = &part{name: 1, options: 8}
	oneofPart   = &part{name: 1, options: 2}
	rangePart   = &part{options: 3}
	enumPart    = &part{name: 1, options: 3, parts: map[protowire.Number]*part{2: valuePart, 4: rangePart}}
	valuePart   = &part{name: 1, options: 3}
	servicePart = &part{name: 1, options: 3, parts: map[protowire.Number]*part{2: methodPart}}
	methodPart  = &part{name: 1, options: 4}
	infoPart    = &part{parts: map[protowire.Number]*part{1: {}}}
)

// scan looks through a file without making messages of it.
func scan(raw []byte) (*file, error) {
	f := &file{raw: raw}
	var pkg string
	var services [][]byte
	err := fields(raw, func(num protowire.Number, _ uint64, data []byte) error {
		if data == nil {
			return nil // a number where a string belongs is an unknown field
		}
		switch num {
		case 1:
			f.name = string(data)
		case 2:
			pkg = string(data)
		case 3:
			if len(data) > maxName {
				return errName
			}
			f.imports = append(f.imports, string(data))
		case 6:
			services = append(services, data)
		}
		if len(f.imports) > maxFiles || len(services) > maxFiles {
			return fmt.Errorf("reflection: more than %d imports or services in a file", maxFiles)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if f.name == "" || len(f.name) > maxName || len(pkg) > maxName {
		return nil, errName
	}
	for _, service := range services {
		var name string
		if err := fields(service, func(num protowire.Number, _ uint64, data []byte) error {
			if num == 1 && data != nil {
				name = string(data)
			}
			return nil
		}); err != nil {
			return nil, err
		}
		if len(name) > maxName {
			return nil, errName
		}
		if pkg != "" {
			name = pkg + "." + name
		}
		f.services = append(f.services, name)
	}
	return f, nil
}

// cost estimates the memory that the descriptors of a file will take.
func (f *file) cost() (int, error) {
	n, err := filePart.cost(f.raw, 0, 0)
	if err != nil {
		return 0, fmt.Errorf("reflection: file %q: %w", f.name, err)
	}
	return n + len(f.raw), nil
}

var (
	errName    = fmt.Errorf("reflection: a name is empty, or longer than %d bytes", maxName)
	errNesting = fmt.Errorf("messages are nested more than %d levels deep", maxNesting)
	errCost    = errors.New("its descriptors would take too much memory")
)

// cost estimates the memory that a part takes with all in it. scope is the length of
// the full name around it.
func (p *part) cost(b []byte, scope, depth int) (int, error) {
	if depth > maxNesting {
		return 0, errNesting
	}
	if p.name != 0 {
		name := 0
		if err := fields(b, func(num protowire.Number, _ uint64, data []byte) error {
			if num == p.name && data != nil {
				name = max(name, len(data))
			}
			return nil
		}); err != nil {
			return 0, err
		}
		if name > maxName {
			return 0, errName
		}
		scope += name + 1
	}
	sum := elementCost + scope
	err := fields(b, func(num protowire.Number, _ uint64, data []byte) error {
		switch inner := p.parts[num]; {
		case inner != nil:
			n, err := inner.cost(data, scope, depth+1)
			if err != nil {
				return err
			}
			sum += n
		case num == p.options && num != 0:
			sum += optionCost * len(data)
		default:
			sum += leafCost + 4*len(data) // packed numbers take four times as much
		}
		if sum > maxCost {
			return errCost
		}
		return nil
	})
	return sum, err
}

// fields walks a message. data is nil for what is not of bytes.
func fields(b []byte, f func(num protowire.Number, v uint64, data []byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errAnswer
		}
		b = b[n:]
		var v uint64
		var data []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			data, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return errAnswer
		}
		b = b[n:]
		if err := f(num, v, data); err != nil {
			return err
		}
	}
	return nil
}
