// Package descriptors reads schemas from files: descriptor sets, images of buf, the
// JSON form of both, and .proto sources, which it compiles. It reads them again when
// they change. What can't be used is an error that says where and why, and what worked
// stays in use.
package descriptors

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Files are what --schema and --proto-path name.
type Files struct {
	Schema     []string
	ProtoPaths []string // where sources, and what they import, are looked for
}

// IsSource says whether a file is one that has to be compiled.
func IsSource(name string) bool { return filepath.Ext(name) == ".proto" }

// Load reads the files and returns serialized google.protobuf.FileDescriptorSet
// messages. seen are the files that were looked at, imports too, whatever came of it,
// with the [stamp] that each had before it was read.
func (f Files) Load() (sets [][]byte, seen map[string]string, err error) {
	seen = map[string]string{}
	var sources []string
	for _, name := range f.Schema {
		seen[name] = stamp(name)
		if IsSource(name) {
			sources = append(sources, name)
			continue
		}
		set, err := readSet(name)
		if err != nil {
			return nil, seen, err
		}
		sets = append(sets, set)
	}
	if len(sources) > 0 {
		set, err := compile(sources, f.ProtoPaths, seen)
		if err != nil {
			return nil, seen, err
		}
		sets = append(sets, set)
	}
	return sets, seen, nil
}

const howToCompile = "give a .proto file, or the output of `buf build -o set.binpb` or `protoc --include_imports --descriptor_set_out=set.binpb FILE.proto`"

func readFile(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("schema %s: there is no such file", name)
	case err != nil:
		return nil, fmt.Errorf("schema %s: %w", name, errors.Unwrap(err))
	}
	return b, nil
}

// readSet reads a descriptor set. What is wrong with the descriptors in it is for the
// library to say.
func readSet(name string) ([]byte, error) {
	b, err := readFile(name)
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	binary := proto.Unmarshal(b, &set)
	switch {
	case binary != nil && bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")):
		// buf's own fields, and options of extensions that are not known here, are left out.
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, &set); err != nil {
			return nil, fmt.Errorf("schema %s is JSON, but not that of a descriptor set (%s): %s", name, bare(err), howToCompile)
		}
		if b, err = proto.Marshal(&set); err != nil {
			return nil, fmt.Errorf("schema %s: %w", name, err)
		}
	case binary != nil:
		return nil, fmt.Errorf("schema %s is not a descriptor set (%s): %s", name, bare(binary), howToCompile)
	}
	if len(set.File) == 0 {
		return nil, fmt.Errorf("schema %s describes nothing: %s", name, howToCompile)
	}
	return b, nil
}

// bare is the message of an error of the protobuf library, which puts one of two kinds
// of space into it, so that nobody relies on its text.
func bare(err error) string {
	s := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	return strings.TrimPrefix(s, "proto: ")
}
