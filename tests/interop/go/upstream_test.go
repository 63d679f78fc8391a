package interop

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/stats"
)

// Messages as large as gRPC allows.
const unlimited = 1<<31 - 1

// idle is a worker that prints nothing and exits when its stdin ends. The server is the test's own.
var idle = []string{"cat"}

// upstream is a grpc-go server behind a sidecar.
type upstream struct {
	address  string
	listener net.Listener
	server   *grpc.Server
}

// serve starts a server of grpc-go's TestService.
func serve(t *testing.T, service testgrpc.TestServiceServer, options ...grpc.ServerOption) *upstream {
	t.Helper()
	u := listen(t, "127.0.0.1:0")
	u.start(t, newServer(service, options...))
	return u
}

func newServer(service testgrpc.TestServiceServer, options ...grpc.ServerOption) *grpc.Server {
	server := grpc.NewServer(append([]grpc.ServerOption{grpc.MaxRecvMsgSize(unlimited)}, options...)...)
	testgrpc.RegisterTestServiceServer(server, service)
	return server
}

// listen opens the address, at which calls wait until the server starts.
func listen(t *testing.T, address string) *upstream {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return &upstream{address: listener.Addr().String(), listener: listener}
}

func (u *upstream) start(t *testing.T, server *grpc.Server) {
	u.server = server
	t.Cleanup(server.Stop)
	go func() { _ = server.Serve(u.listener) }()
}

// relay starts a sidecar in front of an upstream. With DIRECT=1 in the environment clients connect to the
// upstream itself: a failure is then not caused by the relay.
func relay(t *testing.T, u *upstream, options ...string) *sidecar {
	t.Helper()
	if os.Getenv("DIRECT") != "" {
		s := &sidecar{t: t, target: u.address}
		s.conn = s.connect()
		return s
	}
	return start(t, idle, append([]string{"--upstream", u.address}, options...)...)
}

// skipDirect skips tests of what only a relay does.
func skipDirect(t *testing.T) {
	t.Helper()
	if os.Getenv("DIRECT") != "" {
		t.Skip("there is no relay")
	}
}

// calls returns a client of the relayed service, and a context that ends with the test.
func (s *sidecar) calls(options ...grpc.DialOption) (context.Context, testgrpc.TestServiceClient) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	s.t.Cleanup(cancel)
	size := grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(unlimited), grpc.MaxCallSendMsgSize(unlimited))
	return ctx, testgrpc.NewTestServiceClient(s.connect(append(options, size)...))
}

type (
	unaryRequest  = testpb.SimpleRequest
	unaryResponse = testpb.SimpleResponse
	duplexStream  = testgrpc.TestService_FullDuplexCallServer
)

// scripted is a TestService with the test's own methods.
type scripted struct {
	testgrpc.UnimplementedTestServiceServer
	unary  func(context.Context, *unaryRequest) (*unaryResponse, error)
	duplex func(duplexStream) error
}

func (s *scripted) EmptyCall(context.Context, *testpb.Empty) (*testpb.Empty, error) {
	return &testpb.Empty{}, nil
}

func (s *scripted) UnaryCall(ctx context.Context, request *unaryRequest) (*unaryResponse, error) {
	return s.unary(ctx, request)
}

func (s *scripted) FullDuplexCall(stream duplexStream) error {
	return s.duplex(stream)
}

// echoing returns the payloads that it receives.
func echoing() *scripted {
	return &scripted{
		unary: func(_ context.Context, request *unaryRequest) (*unaryResponse, error) {
			return &unaryResponse{Payload: request.GetPayload()}, nil
		},
		duplex: func(stream duplexStream) error {
			for {
				request, err := stream.Recv()
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
				response := &testpb.StreamingOutputCallResponse{Payload: request.GetPayload()}
				if err := stream.Send(response); err != nil {
					return err
				}
			}
		},
	}
}

func payload(body []byte) *testpb.Payload {
	return &testpb.Payload{Body: body}
}

func piece(body []byte) *testpb.StreamingOutputCallRequest {
	return &testpb.StreamingOutputCallRequest{Payload: payload(body)}
}

// within fails the test unless something comes in time.
func within[T any](t *testing.T, limit time.Duration, what string, channel <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-channel:
	case <-time.After(limit):
		t.Fatalf("no %s within %s", what, limit)
	}
	return value
}

// observer calls a function with each event of a connection or call.
type observer func(any)

func (observer) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (observer) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (o observer) HandleRPC(_ context.Context, event stats.RPCStats)               { o(event) }
func (o observer) HandleConn(_ context.Context, event stats.ConnStats)             { o(event) }
