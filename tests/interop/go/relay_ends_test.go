package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// The time within which one end must notice that the other has ended a call.
const soon = time.Second

// waiting is a service whose streams wait until they are cancelled.
type waiting struct {
	*scripted
	begun, ended chan error
}

func newWaiting() waiting {
	w := waiting{begun: make(chan error, 1), ended: make(chan error, 1)}
	w.scripted = &scripted{duplex: func(stream duplexStream) error {
		w.begun <- nil
		<-stream.Context().Done()
		w.ended <- stream.Context().Err()
		return stream.Context().Err()
	}}
	return w
}

func TestRelayedCancellation(t *testing.T) {
	ends := map[string]func(cancel context.CancelFunc, conn *grpc.ClientConn){
		"of the call":          func(cancel context.CancelFunc, _ *grpc.ClientConn) { cancel() },
		"by a lost connection": func(_ context.CancelFunc, conn *grpc.ClientConn) { _ = conn.Close() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			service := newWaiting()
			conn := relay(t, serve(t, service)).connect()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if _, err := testgrpc.NewTestServiceClient(conn).FullDuplexCall(ctx); err != nil {
				t.Fatal(err)
			}
			within(t, patience, "call at the server", service.begun)
			end(cancel, conn)
			within(t, soon, "cancellation at the server", service.ended)
		})
	}
}

// Calls that are cancelled at any stage do not harm others on the same connections.
func TestRelayedCallsBesideThousandsThatAreCancelled(t *testing.T) {
	const clients, calls = 8, 500
	ctx, client := relay(t, serve(t, echoing())).calls()
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var ended sync.WaitGroup
	for range clients {
		ended.Go(func() {
			for number := range calls {
				ctx, cancel := context.WithCancel(ctx)
				time.AfterFunc(time.Duration(number)*time.Microsecond, cancel)
				_, err := client.UnaryCall(ctx, &unaryRequest{Payload: payload(make([]byte, 10_000))})
				if code := status.Code(err); code != codes.OK && code != codes.Canceled {
					t.Errorf("a call: %v", err)
				}
				cancel()
			}
		})
	}
	ended.Wait()
	assertEchoes(t, stream)
}

// assertEchoes checks that a stream is still open.
func assertEchoes(t *testing.T, stream testgrpc.TestService_FullDuplexCallClient) {
	t.Helper()
	if err := stream.Send(piece([]byte("still there"))); err != nil {
		t.Fatal(err)
	}
	response, err := stream.Recv()
	if err != nil || string(response.GetPayload().GetBody()) != "still there" {
		t.Errorf("the open stream: %v, %v", response, err)
	}
}

func TestRelayedDeadlineOfTheClient(t *testing.T) {
	service := newWaiting()
	_, client := relay(t, serve(t, service)).calls()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("the client got %v", err)
	}
	within(t, soon, "end of the call at the server", service.ended)
}

func TestRelayedDeadlineReachesTheServer(t *testing.T) {
	remaining := make(chan time.Duration, 1)
	service := &scripted{unary: func(ctx context.Context, _ *unaryRequest) (*unaryResponse, error) {
		deadline, ok := ctx.Deadline()
		if !ok {
			return nil, status.Error(codes.Internal, "no deadline")
		}
		remaining <- time.Until(deadline)
		return &unaryResponse{}, nil
	}}
	_, client := relay(t, serve(t, service)).calls()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if _, err := client.UnaryCall(ctx, &unaryRequest{}); err != nil {
		t.Fatal(err)
	}
	if left := <-remaining; left > time.Hour || left < time.Hour-patience {
		t.Errorf("of an hour the server has %s", left)
	}
}

// A plain HTTP/2 client does not end the call itself. grpc-go's server resets the stream at the deadline;
// other servers answer with DEADLINE_EXCEEDED.
func TestRelayedDeadlineThatExpiresAtTheServer(t *testing.T) {
	service := newWaiting()
	s := relay(t, serve(t, service))
	dial := func(ctx context.Context, network, address string, _ *tls.Config) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	transport := &http2.Transport{AllowHTTP: true, DialTLSContext: dial}
	defer transport.CloseIdleConnections()
	url := "http://" + s.target + "/grpc.testing.TestService/FullDuplexCall"
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("content-type", "application/grpc")
	request.Header.Set("te", "trailers")
	request.Header.Set("grpc-timeout", "100m")
	ended := make(chan string, 1)
	go func() {
		response, err := transport.RoundTrip(request)
		if err == nil {
			defer response.Body.Close()
			_, err = io.ReadAll(response.Body)
		}
		var reset http2.StreamError
		if errors.As(err, &reset) {
			ended <- reset.Code.String()
		} else if err != nil {
			ended <- err.Error()
		} else {
			ended <- "grpc-status " + response.Trailer.Get("grpc-status") + response.Header.Get("grpc-status")
		}
	}()
	within(t, patience, "end of the call at the server", service.ended)
	if end := within(t, soon, "end of the call", ended); end != "CANCEL" && end != "grpc-status 4" {
		t.Errorf("the client got %s", end)
	}
}

// The server ends the call while the client is still sending.
func TestRelayedEndBeforeTheClientHasFinished(t *testing.T) {
	service := &scripted{duplex: func(stream duplexStream) error {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		return status.Error(codes.OutOfRange, "enough")
	}}
	ctx, client := relay(t, serve(t, service)).calls()
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		for {
			if err := stream.Send(piece(make([]byte, 10_000))); err != nil {
				sent <- err
				return
			}
		}
	}()
	if _, err := stream.Recv(); status.Code(err) != codes.OutOfRange {
		t.Errorf("the client got %v", err)
	}
	if err := within(t, soon, "end of sending", sent); !errors.Is(err, io.EOF) {
		t.Errorf("Send: %v", err)
	}
}

// The server replaces its connections every 100 ms. No call fails, and an open stream survives.
func TestRelayedCallsSurviveGoaway(t *testing.T) {
	var connections atomic.Int32
	count := observer(func(event any) {
		if _, ok := event.(*stats.ConnBegin); ok {
			connections.Add(1)
		}
	})
	short := keepalive.ServerParameters{
		MaxConnectionAge: 100 * time.Millisecond, MaxConnectionAgeGrace: patience,
	}
	upstream := serve(t, echoing(), grpc.KeepaliveParams(short), grpc.StatsHandler(count))
	ctx, client := relay(t, upstream).calls()
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var ended sync.WaitGroup
	for range 8 {
		ended.Go(func() {
			for connections.Load() < 12 {
				if _, err := client.UnaryCall(ctx, &unaryRequest{}); err != nil {
					t.Errorf("a call on connection %d: %v", connections.Load(), err)
					return
				}
			}
		})
	}
	ended.Wait()
	assertEchoes(t, stream)
}

func TestRelayedCallsWhenTheServerStopsGracefully(t *testing.T) {
	begun, release := make(chan error, 1), make(chan struct{})
	service := &scripted{unary: func(context.Context, *unaryRequest) (*unaryResponse, error) {
		begun <- nil
		<-release
		return &unaryResponse{}, nil
	}}
	upstream := serve(t, service)
	ctx, client := relay(t, upstream).calls()
	answered := make(chan error, 1)
	go func() {
		_, err := client.UnaryCall(ctx, &unaryRequest{})
		answered <- err
	}()
	within(t, patience, "call at the server", begun)
	stopped := make(chan struct{})
	go func() {
		upstream.server.GracefulStop()
		close(stopped)
	}()
	assertUnavailable(t, ctx, client, upstream)
	close(release)
	if err := within(t, patience, "answer", answered); err != nil {
		t.Errorf("the call in flight: %v", err)
	}
	within(t, patience, "end of the server", stopped)
}

func TestRelayedCallsWhenTheServerRestarts(t *testing.T) {
	service := newWaiting()
	upstream := serve(t, service)
	ctx, client := relay(t, upstream).calls()
	for range 3 {
		stream, err := client.FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		within(t, patience, "call at the server", service.begun)
		upstream.server.Stop()
		within(t, patience, "end of the call at the server", service.ended)
		if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("the call in flight: %v", err)
		}
		assertUnavailable(t, ctx, client, upstream)

		again := listen(t, upstream.address)
		again.start(t, newServer(service))
		upstream = again
		waitUntil(t, "calls to succeed again", func() bool {
			_, err := client.EmptyCall(ctx, nil)
			return err == nil
		})
	}
}

// assertUnavailable waits until calls fail because the server has stopped, and checks the error.
func assertUnavailable(t *testing.T, ctx context.Context, client testgrpc.TestServiceClient, u *upstream) {
	t.Helper()
	skipDirect(t)
	var err error
	waitUntil(t, "calls to fail", func() bool {
		_, err = client.EmptyCall(ctx, nil)
		return err != nil
	})
	want := "worker at " + u.address + ": "
	if got := status.Convert(err); got.Code() != codes.Unavailable || !strings.HasPrefix(got.Message(), want) {
		t.Errorf("got %v, want UNAVAILABLE and %q", err, want)
	}
}
