package wire

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/seed-9a4e2794/micro/codec"
	"github.com/seed-9a4e2794/micro/metadata"
)

// contentTypeKey names the body's encoding where no codec number does.
const contentTypeKey = "content-type"

// codecNumber returns the number of a content type, 0 when it has none.
func codecNumber(contentType string) byte {
	switch contentType {
	case codec.Proto:
		return 1
	case codec.JSON:
		return 2
	case codec.Bytes:
		return 3
	}
	return 0
}

// contentType is the inverse of codecNumber; "" for 0 and unknown numbers.
func contentType(number byte) string {
	switch number {
	case 1:
		return codec.Proto
	case 2:
		return codec.JSON
	case 3:
		return codec.Bytes
	}
	return ""
}

// appendMeta appends a metadata section: the fields of h and, if it is not
// empty, ctype as the field content-type.
func appendMeta(dst []byte, h metadata.Header, ctype string) []byte {
	n := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	for i := range h {
		dst = appendField(dst, h[i].Key, h[i].Value)
	}
	if ctype != "" {
		dst = appendField(dst, contentTypeKey, ctype)
	}
	binary.LittleEndian.PutUint32(dst[n:], uint32(len(dst)-n-sectionLen))
	return dst
}

func appendField(dst []byte, key, value string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = append(dst, key...)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// metaSize returns the length of the section that appendMeta makes of h.
func metaSize(h metadata.Header) int {
	n := sectionLen
	for i := range h {
		n += len(h[i].Key) + len(h[i].Value) + 2*binary.MaxVarintLen32
	}
	return n
}

// cutMeta splits a payload after the metadata section it begins with. fields
// is the section without its length.
func cutMeta(b []byte) (fields, rest []byte, err error) {
	if len(b) < sectionLen {
		return nil, nil, protocolErrorf("a metadata section has no length")
	}
	n := binary.LittleEndian.Uint32(b)
	b = b[sectionLen:]
	if uint64(n) > uint64(len(b)) {
		return nil, nil, protocolErrorf("a metadata section of %d bytes in a payload with %d left", n, len(b))
	}
	return b[:n], b[n:], nil
}

// parseMeta reads the fields of a metadata section. The strings of the result
// share the memory of s.
func parseMeta(s string) (metadata.Header, error) {
	count, err := countMeta(s)
	if err != nil || count == 0 {
		return nil, err
	}
	h := make(metadata.Header, 0, count)
	for s != "" {
		var f metadata.Field
		f.Key, s, _ = cutString(s) // checked above
		f.Value, s, _ = cutString(s)
		h = append(h, f)
	}
	return h, nil
}

// countMeta checks the fields of a metadata section and counts them.
func countMeta(s string) (int, error) {
	count := 0
	for s != "" {
		var err error
		if _, s, err = cutString(s); err == nil {
			_, s, err = cutString(s)
		}
		if err != nil {
			return 0, err
		}
		count++
	}
	return count, nil
}

func cutString(s string) (head, rest string, err error) {
	var n uint64
	for i := 0; ; i++ {
		if i == len(s) || i == binary.MaxVarintLen64 {
			return "", "", protocolErrorf("a length in a metadata section does not end")
		}
		n |= uint64(s[i]&0x7f) << (7 * i)
		if s[i] < 0x80 {
			s = s[i+1:]
			break
		}
	}
	if n > uint64(len(s)) {
		return "", "", protocolErrorf("a metadata string of %d bytes in a section with %d left", n, len(s))
	}
	return s[:n], s[n:], nil
}

// appendTimeout appends the time that is left, in milliseconds, rounded up.
func appendTimeout(dst []byte, left time.Duration) []byte {
	ms := (left + time.Millisecond - 1) / time.Millisecond
	return binary.LittleEndian.AppendUint32(dst, uint32(min(max(ms, 1), math.MaxUint32)))
}

// request is the payload of a REQ or OPEN taken apart. Its slices are parts of
// the payload.
type request struct {
	timeout time.Duration // 0 is none
	meta    []byte
	body    []byte
}

func parseRequest(h header, payload []byte) (request, error) {
	var r request
	if h.flags&flagTimeout != 0 {
		if len(payload) < sectionLen {
			return r, protocolErrorf("a request has a timeout but only %d bytes", len(payload))
		}
		r.timeout = max(time.Duration(binary.LittleEndian.Uint32(payload)), 1) * time.Millisecond
		payload = payload[sectionLen:]
	}
	if h.flags&flagMeta != 0 {
		var err error
		if r.meta, payload, err = cutMeta(payload); err != nil {
			return r, err
		}
	}
	r.body = payload
	return r, nil
}

// response is the payload of an RSP taken apart.
type response struct {
	header, trailer metadata.Header
	body            []byte
}

func parseResponse(h header, payload []byte) (response, error) {
	var r response
	for _, part := range [...]struct {
		flag byte
		to   *metadata.Header
	}{{flagMeta, &r.header}, {flagTrailer, &r.trailer}} {
		if h.flags&part.flag == 0 {
			continue
		}
		fields, rest, err := cutMeta(payload)
		if err != nil {
			return r, err
		}
		if *part.to, err = parseMeta(string(fields)); err != nil {
			return r, err
		}
		payload = rest
	}
	r.body = payload
	return r, nil
}
