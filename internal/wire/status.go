package wire

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/seed-9a4e2794/micro/errors"
)

// Field numbers of the Error message of docs/protocol.md, section 4, and of
// google.protobuf.Any.
const (
	errId      = 1
	errCode    = 2
	errDetail  = 3
	errStatus  = 4
	errDetails = 5
	anyType    = 1
	anyValue   = 2
)

// appendError appends the body of an RSP that carries e.
func appendError(dst []byte, e *errors.Error) []byte {
	dst = appendString(dst, errId, e.Id)
	if e.Code != 0 {
		dst = protowire.AppendTag(dst, errCode, protowire.VarintType)
		dst = protowire.AppendVarint(dst, uint64(int64(e.Code)))
	}
	dst = appendString(dst, errDetail, e.Detail)
	dst = appendString(dst, errStatus, e.Status)
	for _, d := range e.Details {
		any := appendString(nil, anyType, d.Type)
		any = appendString(any, anyValue, string(d.Value))
		dst = protowire.AppendTag(dst, errDetails, protowire.BytesType)
		dst = protowire.AppendBytes(dst, any)
	}
	return dst
}

func appendString(dst []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return dst
	}
	dst = protowire.AppendTag(dst, field, protowire.BytesType)
	return protowire.AppendString(dst, s)
}

// parseError reads the error of an RSP. What cannot be read is left out: the
// status alone still says what kind of error it was.
func parseError(h header, body []byte) *errors.Error {
	code := errors.Code(h.aux)
	e := &errors.Error{Exact: code, Refused: h.flags&flagRefused != 0}
	eachField(body, func(field protowire.Number, v uint64, b []byte) {
		switch field {
		case errId:
			e.Id = string(b)
		case errCode:
			e.Code = int32(v)
		case errDetail:
			e.Detail = string(b)
		case errStatus:
			e.Status = string(b)
		case errDetails:
			var d errors.Detail
			eachField(b, func(field protowire.Number, _ uint64, b []byte) {
				switch field {
				case anyType:
					d.Type = string(b)
				case anyValue:
					d.Value = append([]byte(nil), b...)
				}
			})
			e.Details = append(e.Details, d)
		}
	})
	if e.Code == 0 && e.Detail == "" {
		e.Code, e.Detail = code.HTTP(), code.String()
	}
	return e
}

// eachField calls f for each field of a protobuf message that is a varint or a
// string, up to the first that cannot be read.
func eachField(b []byte, f func(field protowire.Number, v uint64, b []byte)) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return
		}
		b = b[n:]
		switch typ {
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return
			}
			f(num, v, nil)
			b = b[n:]
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return
			}
			f(num, 0, v)
			b = b[n:]
		default:
			n := protowire.ConsumeFieldValue(num, typ, b)
			if n < 0 {
				return
			}
			b = b[n:]
		}
	}
}
