package http

import (
	stderrors "errors"
	nethttp "net/http"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/seed-9a4e2794/micro/errors"
)

// errorKey is the header field with what an errors.Error holds besides the
// code, message and details of gRPC: who made it, the HTTP status, and whether
// the call was surely not executed.
const errorKey = "Micro-Error-Bin"

// The numbers of the fields in errorKey. The first four are those of
// go-micro's errors.Error message.
const (
	fieldId      = 1
	fieldCode    = 2
	fieldDetail  = 3
	fieldStatus  = 4
	fieldRefused = 15
)

// goMicroDetail is the type that go-micro's gRPC client looks for first among
// the details of an error.
const goMicroDetail = "errors.Error"

// toConnect returns the error of a call as connect sends it. goMicro is set for
// callers that are go-micro's gRPC client: they read the error from a detail,
// and in the oldest versions from JSON in the message.
func toConnect(err error, goMicro bool) *connect.Error {
	e := errors.From("", err)
	text := e.Detail
	if goMicro {
		text = e.Error()
	}
	out := connect.NewError(connect.Code(e.GRPCCode()), stderrors.New(text))
	if goMicro {
		b := appendError(nil, e)
		b = protowire.AppendTag(b, fieldDetail, protowire.BytesType)
		b = protowire.AppendString(b, e.Detail)
		addDetail(out, errors.Detail{Type: goMicroDetail, Value: b})
	}
	for _, d := range e.Details {
		addDetail(out, d)
	}
	out.Meta().Set(errorKey, connect.EncodeBinaryHeader(appendError(nil, e)))
	return out
}

// typeURL is where types are said to be from. connect hides it in what comes.
const typeURL = "type.googleapis.com/"

func addDetail(to *connect.Error, d errors.Detail) {
	url := d.Type
	if !strings.Contains(url, "/") {
		url = typeURL + url
	}
	if cd, err := connect.NewErrorDetail(&anypb.Any{TypeUrl: url, Value: d.Value}); err == nil { // an Any always is one
		to.AddDetail(cd)
	}
}

// appendError appends what errorKey holds of an error.
func appendError(b []byte, e *errors.Error) []byte {
	if e.Id != "" {
		b = protowire.AppendTag(b, fieldId, protowire.BytesType)
		b = protowire.AppendString(b, e.Id)
	}
	b = protowire.AppendTag(b, fieldCode, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(e.Code))
	if e.Status != "" && e.Status != nethttp.StatusText(int(e.Code)) {
		b = protowire.AppendTag(b, fieldStatus, protowire.BytesType)
		b = protowire.AppendString(b, e.Status)
	}
	if e.Refused {
		b = protowire.AppendTag(b, fieldRefused, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	return b
}

// fromConnect returns the error that a peer has sent.
func fromConnect(ce *connect.Error) *errors.Error {
	e := errors.NewCode("", errors.Code(ce.Code()), "%s", ce.Message())
	for _, d := range ce.Details() {
		if d.Type() == goMicroDetail {
			own := *e
			if parseError(&own, d.Bytes()) {
				*e = own
			}
			continue
		}
		e.Details = append(e.Details, errors.Detail{Type: typeURL + d.Type(), Value: d.Bytes()})
	}
	if v := ce.Meta().Get(errorKey); v != "" {
		own := *e
		if b, err := connect.DecodeBinaryHeader(v); err == nil && parseError(&own, b) {
			*e = own
		}
	} else if p := errors.Parse(ce.Message()); p.Code > 0 { // go-micro before it sent details
		p.Exact, p.Details = e.Exact, e.Details
		return p
	}
	return e
}

// parseError reads into e what appendError wrote, or go-micro's message. It
// reports whether all of it could be read.
func parseError(e *errors.Error, b []byte) bool {
	e.Status = ""
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		switch {
		case typ == protowire.BytesType && (num == fieldId || num == fieldDetail || num == fieldStatus):
			v, n := protowire.ConsumeString(b)
			if n < 0 {
				return false
			}
			b = b[n:]
			switch num {
			case fieldId:
				e.Id = v
			case fieldDetail:
				e.Detail = v
			case fieldStatus:
				e.Status = v
			}
		case typ == protowire.VarintType && (num == fieldCode || num == fieldRefused):
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return false
			}
			b = b[n:]
			if num == fieldCode {
				e.Code = int32(v)
			} else {
				e.Refused = v != 0
			}
		default:
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return false
			}
			b = b[n:]
		}
	}
	if e.Status == "" {
		e.Status = nethttp.StatusText(int(e.Code))
	}
	return true
}
