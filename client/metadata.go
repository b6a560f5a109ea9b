package client

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-rpc/sluice/internal/exchange"
	wiregrpc "github.com/sluice-rpc/sluice/internal/wire/grpc"
	"github.com/sluice-rpc/sluice/rpc"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// appendMetadata appends metadata as fields. Names that gRPC reserves are left out, as grpc-go does.
func appendMetadata(list []exchange.Field, md metadata.MD) ([]exchange.Field, error) {
	names := make([]string, 0, len(md))
	for name := range md {
		names = append(names, name)
	}
	slices.Sort(names) // so that HEADERS are the same each time
	for _, name := range names {
		lower := strings.ToLower(name)
		if wiregrpc.Reserved(lower) {
			continue
		}
		if !isName(lower) {
			return nil, status.Errorf(codes.Internal, "metadata: %q is not a name", name)
		}
		for _, value := range md[name] {
			switch {
			case strings.HasSuffix(lower, "-bin"):
				value = wiregrpc.EncodeBinary([]byte(value))
			case !isText(value):
				return nil, status.Errorf(codes.Internal, "metadata: the value of %q is not printable ASCII; names that end in -bin take anything", name)
			}
			list = append(list, exchange.Field{Name: lower, Value: value})
		}
	}
	return list, nil
}

// isName says whether a name is one of metadata (PROTOCOL-HTTP2.md, "Header-Name").
func isName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_', c == '-', c == '.':
		default:
			return false
		}
	}
	return s != ""
}

func isText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// readMetadata returns the metadata among fields.
func readMetadata(list []exchange.Field) metadata.MD {
	md := metadata.MD{}
	for i := range list {
		f := &list[i]
		if wiregrpc.Reserved(f.Name) {
			continue
		}
		value := f.Value
		if strings.HasSuffix(f.Name, "-bin") {
			b, err := wiregrpc.DecodeBinary(value)
			if err != nil {
				continue
			}
			value = string(b)
		}
		md[f.Name] = append(md[f.Name], value)
	}
	return md
}

// fromStatus makes grpc-go's status of ours.
func fromStatus(st rpc.Status) *status.Status {
	p := &spb.Status{Code: int32(st.Code), Message: st.Message}
	if len(st.Details) > 0 {
		var with spb.Status
		if proto.Unmarshal(st.Details, &with) == nil && with.Code == p.Code {
			return status.FromProto(&with)
		}
	}
	return status.FromProto(p)
}

// oneLine is an error without line breaks.
func oneLine(err error) string {
	return strings.ReplaceAll(fmt.Sprint(err), "\n", "; ")
}
