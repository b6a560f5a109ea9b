package rest

import (
	"strconv"
	"strings"

	"github.com/sluice-rpc/sluice/internal/exchange"
)

// acceptRanges bounds how many ranges of an Accept are looked at.
const acceptRanges = 32

// A mediaRange is one element of Accept (RFC 9110, section 12.5.1).
type mediaRange struct {
	name    string // "type/subtype", "type/*" or "*/*", in lower case
	quality int    // in thousandths
}

// parseAccept reads the lines of Accept. None at all, or nothing that can be read, is
// "*/*".
func parseAccept(values []string) []mediaRange {
	var ranges []mediaRange
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			name, params, _ := strings.Cut(part, ";")
			name = strings.ToLower(strings.TrimSpace(name))
			if name == "" || len(ranges) == acceptRanges {
				continue
			}
			if name == "*" { // old Java clients
				name = "*/*"
			}
			if q, ok := quality(params); ok {
				ranges = append(ranges, mediaRange{name, q})
			}
		}
	}
	if ranges == nil {
		ranges = []mediaRange{{"*/*", 1000}}
	}
	return ranges
}

// Accepts says whether a client takes an answer of a media type.
func Accepts(h *exchange.RequestHead, mediaType string) bool {
	q, _ := weigh(parseAccept(values(h.Fields, "accept")), mediaType)
	return q > 0
}

// quality reads the weight among parameters (RFC 9110, section 12.4.2).
func quality(params string) (thousandths int, ok bool) {
	for p := range strings.SplitSeq(params, ";") {
		k, v, _ := strings.Cut(p, "=")
		if !strings.EqualFold(strings.TrimSpace(k), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return 0, false
		}
		return int(q*1000 + 0.5), true
	}
	return 1000, true
}

// weigh returns the quality of a media type: that of the most precise range that takes
// it, or 0. exact says that the type is named in full.
func weigh(ranges []mediaRange, mediaType string) (quality int, exact bool) {
	best := -1
	major, _, _ := strings.Cut(mediaType, "/")
	for _, r := range ranges {
		precision := -1
		switch {
		case r.name == mediaType:
			precision = 2
		case strings.HasSuffix(r.name, "/*") && r.name[:len(r.name)-2] == major:
			precision = 1
		case r.name == "*/*":
			precision = 0
		}
		if precision > best {
			best, quality = precision, r.quality
		}
	}
	return quality, best == 2
}
