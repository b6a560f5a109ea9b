package grpcweb

import (
	"bytes"
	"encoding/base64"
	"errors"
)

// ErrText is the error of text that is no base64.
var ErrText = errors.New("the body of a grpc-web-text request is no base64")

// A TextDecoder reads base64 that is cut anywhere and may hold several runs, each with
// its own padding: clients pad whenever they flush.
type TextDecoder struct {
	group [4]byte
	have  int
}

// Decode appends what text says to dst, with an error as far as it is sound. Up to three
// characters are kept for the next call.
func (d *TextDecoder) Decode(dst, text []byte) ([]byte, error) {
	// encoding/base64 skips line breaks, so what a text says would depend on where it
	// is cut; RFC 4648, section 3.3, wants them refused.
	if i := bytes.IndexAny(text, "\r\n"); i >= 0 {
		dst, _ = d.decode(dst, text[:i])
		return dst, ErrText
	}
	return d.decode(dst, text)
}

func (d *TextDecoder) decode(dst, text []byte) ([]byte, error) {
	for len(text) > 0 {
		if d.have == 0 && len(text) >= 4 {
			// Whole groups, up to one that is padded.
			n := len(text) &^ 3
			for i := 0; i < n; i += 4 {
				if text[i+3] == '=' || text[i+2] == '=' {
					n = i + 4
				}
			}
			at := len(dst)
			dst = append(dst, make([]byte, n/4*3)...)
			m, err := base64.StdEncoding.Decode(dst[at:], text[:n])
			dst = dst[:at+m]
			if err != nil {
				return dst, ErrText
			}
			text = text[n:]
			continue
		}
		n := copy(d.group[d.have:], text)
		d.have += n
		text = text[n:]
		if d.have < 4 {
			break
		}
		d.have = 0
		var out [3]byte
		m, err := base64.StdEncoding.Decode(out[:], d.group[:])
		if err != nil {
			return dst, ErrText
		}
		dst = append(dst, out[:m]...)
	}
	return dst, nil
}

// Whole says whether no group is open. An end of the body elsewhere is an error.
func (d *TextDecoder) Whole() bool { return d.have == 0 }

// AppendText appends a run of base64, padded, so that it can be read without waiting
// for more.
func AppendText(dst, b []byte) []byte { return base64.StdEncoding.AppendEncode(dst, b) }
