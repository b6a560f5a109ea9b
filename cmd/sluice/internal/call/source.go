package call

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	_ "google.golang.org/genproto/googleapis/rpc/errdetails" // details of statuses
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/sluice-rpc/sluice/client"
	"github.com/sluice-rpc/sluice/rpc"
)

// source knows methods, from files or from the server's reflection.
type source struct {
	c      *client.Client
	files  *protoregistry.Files
	set    map[string]*descriptorpb.FileDescriptorProto // by name; of reflection
	stream grpc_reflection_v1.ServerReflection_ServerReflectionInfoClient
	cancel context.CancelFunc
}

func newSource(c *client.Client, sets [][]byte) (*source, error) {
	s := &source{c: c}
	if len(sets) == 0 {
		s.set = map[string]*descriptorpb.FileDescriptorProto{}
		return s, nil
	}
	var all descriptorpb.FileDescriptorSet
	seen := map[string]bool{}
	for _, b := range sets {
		var set descriptorpb.FileDescriptorSet
		if err := proto.Unmarshal(b, &set); err != nil {
			return nil, Usage{fmt.Errorf("schema: %w", err)}
		}
		for _, f := range set.GetFile() {
			if !seen[f.GetName()] {
				seen[f.GetName()] = true
				all.File = append(all.File, f)
			}
		}
	}
	files, err := protodesc.FileOptions{AllowUnresolvable: true}.NewFiles(&all)
	if err != nil {
		return nil, Usage{fmt.Errorf("schema: %w", err)}
	}
	s.files = files
	return s, nil
}

// close ends the questions, so that nothing of them is among the frames of the call.
func (s *source) close() {
	if s.stream == nil {
		return
	}
	_ = s.stream.CloseSend()
	for {
		if _, err := s.stream.Recv(); err != nil {
			break
		}
	}
	s.cancel()
	s.stream = nil
}

// method finds a method by its name, written as people write it.
func (s *source) method(ctx context.Context, name string) (protoreflect.MethodDescriptor, error) {
	name = strings.TrimPrefix(name, "/")
	i := strings.LastIndexAny(name, "/.")
	if i <= 0 || i == len(name)-1 {
		return nil, usagef("%q is not the name of a method: write package.Service/Method", name)
	}
	service, method := name[:i], name[i+1:]
	if s.files == nil {
		if err := s.ask(ctx, service); err != nil {
			return nil, err
		}
	}
	d, err := s.files.FindDescriptorByName(protoreflect.FullName(service))
	sd, ok := d.(protoreflect.ServiceDescriptor)
	if err != nil || !ok {
		return nil, usagef("there is no service %s", service)
	}
	m := sd.Methods().ByName(protoreflect.Name(method))
	if m == nil {
		var names []string
		for i := range sd.Methods().Len() {
			names = append(names, string(sd.Methods().Get(i).Name()))
		}
		return nil, usagef("%s has no method %s: there are %s", service, method, strings.Join(names, ", "))
	}
	return m, nil
}

// request asks the server's reflection.
func (s *source) request(ctx context.Context, r *grpc_reflection_v1.ServerReflectionRequest) (*grpc_reflection_v1.ServerReflectionResponse, error) {
	if s.stream == nil {
		ctx, s.cancel = context.WithCancel(ctx)
		var err error
		if s.stream, err = grpc_reflection_v1.NewServerReflectionClient(s.c).ServerReflectionInfo(ctx); err != nil {
			return nil, explain(err)
		}
	}
	if err := s.stream.Send(r); err != nil && !errors.Is(err, io.EOF) {
		return nil, explain(err)
	}
	answer, err := s.stream.Recv()
	if err != nil {
		return nil, explain(err)
	}
	if e := answer.GetErrorResponse(); e != nil {
		return nil, status.Error(codes.Code(e.GetErrorCode()), e.GetErrorMessage())
	}
	return answer, nil
}

// explain says what to do if a server has no reflection.
func explain(err error) error {
	if status.Code(err) == codes.Unimplemented {
		return errors.New("the server has no reflection: give its .proto files with --schema")
	}
	return fmt.Errorf("ask for the schema: %s: %s", codeName(status.Code(err)), status.Convert(err).Message())
}

// ask finds a service, and all files that it needs.
func (s *source) ask(ctx context.Context, service string) error {
	answer, err := s.request(ctx, &grpc_reflection_v1.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service},
	})
	if status.Code(err) == codes.NotFound {
		return usagef("there is no service %s", service)
	} else if err != nil {
		return err
	}
	todo, err := s.add(answer)
	if err != nil {
		return err
	}
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if s.set[name] != nil {
			continue
		}
		answer, err := s.request(ctx, &grpc_reflection_v1.ServerReflectionRequest{
			MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileByFilename{FileByFilename: name},
		})
		if err != nil {
			// Some servers leave well-known files out, which are known here.
			fd, known := protoregistry.GlobalFiles.FindFileByPath(name)
			if known != nil {
				return fmt.Errorf("ask for %s: %w", name, err)
			}
			s.set[name] = protodesc.ToFileDescriptorProto(fd)
			continue
		}
		more, err := s.add(answer)
		if err != nil {
			return err
		}
		todo = append(todo, more...)
	}
	var set descriptorpb.FileDescriptorSet
	for _, f := range s.set {
		set.File = append(set.File, f)
	}
	if s.files, err = (protodesc.FileOptions{AllowUnresolvable: true}).NewFiles(&set); err != nil {
		return fmt.Errorf("what the server says of itself: %w", err)
	}
	return nil
}

// add keeps files, and returns what they import.
func (s *source) add(answer *grpc_reflection_v1.ServerReflectionResponse) (imports []string, err error) {
	for _, b := range answer.GetFileDescriptorResponse().GetFileDescriptorProto() {
		var f descriptorpb.FileDescriptorProto
		if err := proto.Unmarshal(b, &f); err != nil {
			return nil, fmt.Errorf("what the server says of itself: %w", err)
		}
		s.set[f.GetName()] = &f
		imports = append(imports, f.GetDependency()...)
	}
	return imports, nil
}

// list prints all methods.
func (s *source) list(ctx context.Context, w io.Writer) error {
	var services []string
	if s.files == nil {
		answer, err := s.request(ctx, &grpc_reflection_v1.ServerReflectionRequest{
			MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
		})
		if err != nil {
			return err
		}
		for _, v := range answer.GetListServicesResponse().GetService() {
			services = append(services, v.GetName())
			if err := s.ask(ctx, v.GetName()); err != nil {
				return err
			}
		}
	} else {
		s.files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
			for i := range f.Services().Len() {
				services = append(services, string(f.Services().Get(i).FullName()))
			}
			return true
		})
	}
	slices.Sort(services)
	for _, service := range services {
		d, err := s.files.FindDescriptorByName(protoreflect.FullName(service))
		sd, ok := d.(protoreflect.ServiceDescriptor)
		if err != nil || !ok {
			continue
		}
		for i := range sd.Methods().Len() {
			m := sd.Methods().Get(i)
			if _, err := fmt.Fprintf(w, "%s/%s (%s%s) %s%s\n", service, m.Name(),
				stream(m.IsStreamingClient()), m.Input().FullName(), stream(m.IsStreamingServer()), m.Output().FullName()); err != nil {
				return err
			}
		}
	}
	return nil
}

func stream(yes bool) string {
	if yes {
		return "stream "
	}
	return ""
}

func (s *source) resolver() *dynamicpb.Types {
	if s.files == nil {
		return dynamicpb.NewTypes(new(protoregistry.Files))
	}
	return dynamicpb.NewTypes(s.files)
}

// types finds the types of google.protobuf.Any: the server's, and those that this program has.
type types struct{ own *dynamicpb.Types }

func (t *types) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	if m, err := t.own.FindMessageByName(name); err == nil {
		return m, nil
	}
	return protoregistry.GlobalTypes.FindMessageByName(name)
}

func (t *types) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	if m, err := t.own.FindMessageByURL(url); err == nil {
		return m, nil
	}
	return protoregistry.GlobalTypes.FindMessageByURL(url)
}

func (t *types) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	return t.own.FindExtensionByName(name)
}

func (t *types) FindExtensionByNumber(message protoreflect.FullName, n protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	return t.own.FindExtensionByNumber(message, n)
}

// decodeBinary reads values of -bin names, which people write in base64.
func decodeBinary(md metadata.MD) error {
	for name, values := range md {
		if !strings.HasSuffix(name, "-bin") {
			continue
		}
		for i, v := range values {
			b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(v, "="))
			if err != nil {
				return usagef("-H %q: the value of a name that ends in -bin is base64", name)
			}
			values[i] = string(b)
		}
	}
	return nil
}

func encodeBinary(v string) string { return base64.RawStdEncoding.EncodeToString([]byte(v)) }

// codeName is gRPC's name of a code, as NOT_FOUND.
func codeName(c codes.Code) string { return rpc.Code(c).String() }
