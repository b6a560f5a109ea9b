package descriptors

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"github.com/bufbuild/protocompile/reporter"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	// The imports that sources find without a file: google/api and google/rpc.
	_ "google.golang.org/genproto/googleapis/api/annotations"
	_ "google.golang.org/genproto/googleapis/api/httpbody"
	_ "google.golang.org/genproto/googleapis/api/visibility"
	_ "google.golang.org/genproto/googleapis/rpc/code"
	_ "google.golang.org/genproto/googleapis/rpc/errdetails"
	_ "google.golang.org/genproto/googleapis/rpc/status"
)

// maxErrors is how many mistakes are told at once.
const maxErrors = 10

// compile makes a descriptor set of sources and all that they import, and adds the
// files that it read or looked for to seen.
func compile(sources, paths []string, seen map[string]string) ([]byte, error) {
	r := &resolver{paths: paths, given: map[string]string{}, opened: map[string]string{}, stamps: seen}
	var names []string
	for _, source := range sources {
		if _, err := os.Stat(source); err != nil { // better than what comes of the name it is imported by
			_, err = readFile(source)
			return nil, err
		}
		name, err := importName(source, paths)
		if err != nil {
			return nil, err
		}
		if r.given[name] == "" {
			names = append(names, name)
		}
		r.given[name] = source
		if len(paths) == 0 && !slices.Contains(r.fallback, filepath.Dir(source)) {
			r.fallback = append(r.fallback, filepath.Dir(source))
		}
	}
	var mistakes []string
	c := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(r),
		SourceInfoMode: protocompile.SourceInfoStandard,
		Reporter: reporter.NewReporter(func(err reporter.ErrorWithPos) error {
			if mistakes = append(mistakes, r.locate(err)); len(mistakes) >= maxErrors {
				return err
			}
			return nil
		}, nil),
	}
	files, err := c.Compile(context.Background(), names...)
	var pos reporter.ErrorWithPos
	switch {
	case len(mistakes) == 0 && errors.As(err, &pos): // imports are not reported
		return nil, errors.New("schema " + r.locate(pos))
	case len(mistakes) > 0:
		return nil, errors.New("schema " + strings.Join(mistakes, "\n  "))
	case err != nil:
		return nil, fmt.Errorf("schema %w", err)
	}
	out := &descriptorpb.FileDescriptorSet{}
	done := map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(fd protoreflect.FileDescriptor) {
		if done[fd.Path()] {
			return
		}
		done[fd.Path()] = true
		for i := range fd.Imports().Len() {
			add(fd.Imports().Get(i).FileDescriptor)
		}
		out.File = append(out.File, protoutil.ProtoFromFileDescriptor(fd))
	}
	for _, fd := range files {
		add(fd)
	}
	return proto.Marshal(out)
}

// importName is the name by which others import a file: its path below the first of
// paths that holds it, as protoc has it. Without paths that is the directory in which
// the command was started, or the file's own.
func importName(source string, paths []string) (string, error) {
	file, err := filepath.Abs(source)
	if err != nil {
		return "", err
	}
	roots := paths
	if len(roots) == 0 {
		roots = []string{".", filepath.Dir(source)}
	}
	for _, root := range roots {
		if root, err = filepath.Abs(root); err != nil {
			return "", err
		}
		if rel, err := filepath.Rel(root, file); err == nil && filepath.IsLocal(rel) {
			return filepath.ToSlash(rel), nil
		}
	}
	return "", fmt.Errorf("schema %s is below none of the directories of --proto-path: %s", source, strings.Join(paths, ", "))
}

// A resolver finds the files of imports: on disk first, then what the command brings.
// The compiler calls it from many goroutines.
type resolver struct {
	paths, fallback []string
	given           map[string]string // files by the names they are imported by

	mu     sync.Mutex
	opened map[string]string // by the names they are imported by
	stamps map[string]string
}

func (r *resolver) FindFileByPath(name string) (protocompile.SearchResult, error) {
	candidates := []string{r.given[name]}
	if candidates[0] == "" {
		candidates = nil
		roots := r.paths
		if len(roots) == 0 {
			roots = append([]string{"."}, r.fallback...)
		}
		for _, root := range roots {
			candidates = append(candidates, filepath.Join(root, filepath.FromSlash(name)))
		}
	}
	for _, file := range candidates {
		before := stamp(file)
		b, err := os.ReadFile(file)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			r.note(name, file, before)
			return protocompile.SearchResult{Source: bytes.NewReader(b)}, err
		}
	}
	// Of what is linked, only what everybody takes from Google.
	if strings.HasPrefix(name, "google/") {
		if fd, err := protoregistry.GlobalFiles.FindFileByPath(name); err == nil {
			return protocompile.SearchResult{Desc: fd}, nil
		}
	}
	r.note(name, candidates[0], stamp(candidates[0])) // it may come to be
	return protocompile.SearchResult{}, errImport
}

var errImport = errors.New("there is no such file: name the directory that import paths begin in by --proto-path DIR")

func (r *resolver) note(name, file, before string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened[name], r.stamps[file] = file, before
}

// locate writes a mistake with the file as the user knows it.
func (r *resolver) locate(err reporter.ErrorWithPos) string {
	pos := err.GetPosition()
	r.mu.Lock()
	defer r.mu.Unlock()
	if file, ok := r.opened[pos.Filename]; ok {
		pos.Filename = file
	}
	return fmt.Sprintf("%s: %v", pos, err.Unwrap())
}
