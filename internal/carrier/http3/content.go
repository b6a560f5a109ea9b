package http3

import (
	"errors"
	"io"
	"net/http"
)

// content is the content of a request whose length is known. The library ends one that is too
// long, but takes one that is too short for whole (RFC 9114, section 4.1.2).
type content struct {
	io.ReadCloser
	left int64
}

// checked returns r, whose content has the length that it says, or no end.
func checked(r *http.Request) *http.Request {
	if r.ContentLength > 0 {
		r.Body = &content{r.Body, r.ContentLength}
	}
	return r
}

// Read implements [io.Reader].
func (c *content) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if c.left -= int64(n); c.left > 0 && errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
