package interop

import (
	"context"
	stderrors "errors"
	"time"

	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/seed-9a4e2794/micro"
	"github.com/seed-9a4e2794/micro/errors"
	"github.com/seed-9a4e2794/micro/metadata"
	"github.com/seed-9a4e2794/micro/server"
)

// The metadata that grpc.testing.TestService sends back.
const (
	echoInitial  = "x-grpc-test-echo-initial"
	echoTrailing = "x-grpc-test-echo-trailing-bin"
)

// registerTestService adds grpc.testing.TestService, as
// https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md
// describes it, with the exception of UnimplementedCall.
func registerTestService(s micro.Service) error {
	return stderrors.Join(
		micro.Handle(s, "TestService.EmptyCall", func(context.Context, *pb.Empty) (*pb.Empty, error) { return nil, nil }),
		micro.Handle(s, "TestService.UnaryCall", unaryCall),
		micro.HandleServerStream(s, "TestService.StreamingOutputCall", streamingOutputCall),
		micro.HandleClientStream(s, "TestService.StreamingInputCall", streamingInputCall),
		micro.HandleBidiStream(s, "TestService.FullDuplexCall", fullDuplexCall),
		micro.HandleBidiStream(s, "TestService.HalfDuplexCall", halfDuplexCall),
	)
}

func unaryCall(ctx context.Context, req *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	if err := echoMetadata(ctx); err != nil {
		return nil, err
	}
	if err := asked(req.GetResponseStatus()); err != nil {
		return nil, err
	}
	return &pb.SimpleResponse{Payload: payload(req.GetResponseSize())}, nil
}

func streamingOutputCall(ctx context.Context, req *pb.StreamingOutputCallRequest, stream server.SendStream[pb.StreamingOutputCallResponse]) error {
	return output(ctx, req, stream.Send)
}

func streamingInputCall(_ context.Context, stream server.RecvStream[pb.StreamingInputCallRequest]) (*pb.StreamingInputCallResponse, error) {
	rsp := new(pb.StreamingInputCallResponse)
	for req, err := range stream.All() {
		if err != nil {
			return nil, err
		}
		rsp.AggregatedPayloadSize += int32(len(req.GetPayload().GetBody()))
	}
	return rsp, nil
}

type duplex = server.BidiStream[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]

func fullDuplexCall(ctx context.Context, stream duplex) error {
	if err := echoMetadata(ctx); err != nil {
		return err
	}
	for req, err := range stream.All() {
		if err != nil {
			return err
		}
		if err := asked(req.GetResponseStatus()); err != nil {
			return err
		}
		if err := output(ctx, req, stream.Send); err != nil {
			return err
		}
	}
	return nil
}

func halfDuplexCall(ctx context.Context, stream duplex) error {
	var all []*pb.StreamingOutputCallRequest
	for req, err := range stream.All() {
		if err != nil {
			return err
		}
		all = append(all, req)
	}
	for _, req := range all {
		if err := output(ctx, req, stream.Send); err != nil {
			return err
		}
	}
	return nil
}

// output sends what a request asks for.
func output(ctx context.Context, req *pb.StreamingOutputCallRequest, send func(*pb.StreamingOutputCallResponse) error) error {
	for _, p := range req.GetResponseParameters() {
		if p.GetIntervalUs() > 0 {
			timer := time.NewTimer(time.Duration(p.GetIntervalUs()) * time.Microsecond)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			}
		}
		if err := send(&pb.StreamingOutputCallResponse{Payload: payload(p.GetSize())}); err != nil {
			return err
		}
	}
	return nil
}

func payload(size int32) *pb.Payload { return &pb.Payload{Body: make([]byte, size)} }

// asked returns the error that a request asks for.
func asked(status *pb.EchoStatus) error {
	if status.GetCode() == 0 {
		return nil
	}
	return errors.NewCode("interop", errors.Code(status.GetCode()), "%s", status.GetMessage())
}

func echoMetadata(ctx context.Context) error {
	var err error
	if v := metadata.Values(ctx, echoInitial); v != nil {
		err = metadata.SetHeader(ctx, echoInitial, v...)
	}
	if v := metadata.Values(ctx, echoTrailing); v != nil {
		err = stderrors.Join(err, metadata.SetTrailer(ctx, echoTrailing, v...))
	}
	return err
}
