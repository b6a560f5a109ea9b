package routes

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// googleFiles returns the descriptors of all APIs in a module. They are read from its
// generated source, as the literal in which each file has them: to compile it all would
// take minutes.
func googleFiles(module string) (*descriptorpb.FileDescriptorSet, error) {
	if out, err := exec.Command("go", "mod", "download", module).CombinedOutput(); err != nil { // go list does not
		return nil, fmt.Errorf("go mod download: %w\n%s", err, out)
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	set := &descriptorpb.FileDescriptorSet{}
	err = filepath.WalkDir(strings.TrimSpace(string(out)), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".pb.go") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		raw, err := rawDescriptor(source)
		if raw == nil || err != nil {
			return err
		}
		file := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(raw, file); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		set.File = append(set.File, file)
		return nil
	})
	return set, err
}

// rawDescriptor finds the descriptor in generated source: a []byte or, of newer
// generators, a sum of strings. Without one it is nil.
func rawDescriptor(source []byte) (raw []byte, err error) {
	if _, after, ok := bytes.Cut(source, []byte("_rawDesc = []byte{")); ok {
		literal, _, _ := bytes.Cut(after, []byte("}"))
		for number := range bytes.FieldsFuncSeq(literal, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' }) {
			n, err := strconv.ParseUint(string(number), 0, 8)
			if err != nil {
				return nil, err
			}
			raw = append(raw, byte(n))
		}
		return raw, nil
	}
	_, after, ok := bytes.Cut(source, []byte("_rawDesc = \"\" +\n"))
	if !ok {
		return nil, nil
	}
	for line := range bytes.Lines(after) {
		literal, more := bytes.CutSuffix(bytes.TrimSpace(line), []byte(" +"))
		s, err := strconv.Unquote(string(literal))
		if err != nil {
			return nil, err
		}
		if raw = append(raw, s...); !more {
			return raw, nil
		}
	}
	return nil, fmt.Errorf("a descriptor does not end")
}
