package connect

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
)

// A Get is the query of a unary GET ("Unary-Get-Request").
type Get struct {
	Codec       string
	Compression string // "" is identity
	Message     []byte
}

// IsGet says whether a path with its query looks like a unary GET: parameters may come
// in any order, and others beside them.
func IsGet(path string) bool {
	_, query, ok := strings.Cut(path, "?")
	if !ok {
		return false
	}
	version, encoding, message := false, false, false
	for part := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(part, "=")
		switch k {
		case "connect":
			version = v == "v1"
		case "encoding":
			encoding = true
		case "message":
			message = true
		}
	}
	return version || (encoding && message)
}

// HasVersion says whether a query names the protocol's version.
func HasVersion(path string) bool {
	_, query, _ := strings.Cut(path, "?")
	for part := range strings.SplitSeq(query, "&") {
		if part == "connect=v1" {
			return true
		}
	}
	return false
}

// ParseGet reads the query.
func ParseGet(path string) (Get, error) {
	_, query, _ := strings.Cut(path, "?")
	var g Get
	var message string
	var hasMessage, hasEncoding, isBase64 bool
	for part := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(part, "=")
		switch k {
		case "encoding", "compression", "message", "base64", "connect":
		default:
			continue // others mean nothing here, however they are written
		}
		v, err := url.QueryUnescape(v)
		if err != nil {
			return g, errors.New("query parameter " + k + ": bad percent-encoding")
		}
		switch k {
		case "encoding":
			g.Codec, hasEncoding = v, true
		case "compression":
			if v != "identity" {
				g.Compression = v
			}
		case "message":
			message, hasMessage = v, true
		case "base64":
			isBase64 = v == "1"
		case "connect":
			if v != "v1" {
				return g, errors.New(`query parameter connect: the version is not "v1"`)
			}
		}
	}
	switch {
	case !hasEncoding:
		return g, errors.New("query parameter encoding is missing")
	case !hasMessage:
		return g, errors.New("query parameter message is missing")
	}
	g.Message = []byte(message)
	if isBase64 {
		b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(message, "="))
		if err != nil {
			return g, errors.New("query parameter message is no base64url")
		}
		g.Message = b
	}
	return g, nil
}
