package interop

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

const (
	pieceBytes = 64 * 1024
	// 64 MB in all, far more than all windows and buffers on the way.
	pieces = 1024
	// The client's receive window of a stream. Left to itself grpc-go enlarges it up to 16 MiB, as fast as the
	// connection happens to be, and then the limit below says nothing about the relay.
	clientWindow = 256 * 1024
	// What a stream may have on its way while nothing reads it: the buffers of sockets, which streams share, and
	// the windows of the client and of the relay.
	onTheWay = 2 * 1024 * 1024
	// The most memory that the sidecar may take for a stream that is not read: windows of 256 KiB and overhead.
	memoryOfAStream = 1024 * 1024
)

// pouring sends numbered messages as fast as possible once it has received one, and counts them.
func pouring(sent *atomic.Int64) *scripted {
	service := echoing()
	service.duplex = func(stream duplexStream) error {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		for number := range pieces {
			message := &testpb.StreamingOutputCallResponse{Payload: payload(numbered(number))}
			if err := stream.Send(message); err != nil {
				return err
			}
			sent.Add(1)
		}
		return nil
	}
	return service
}

func numbered(number int) []byte {
	body := make([]byte, pieceBytes)
	copy(body, fmt.Sprintf("%d ", number))
	return body
}

func assertNumber(t *testing.T, body []byte, want int) {
	t.Helper()
	if got, _, _ := strings.Cut(string(body[:min(len(body), 16)]), " "); got != strconv.Itoa(want) {
		t.Fatalf("message %q came in the place of message %d", got, want)
	}
}

// A client that does not read makes the server wait. Memory stays bounded and other calls pass.
func TestRelayedStreamsThatAreNotReadMakeTheServerWait(t *testing.T) {
	const streams = 16
	var sent atomic.Int64
	s := relay(t, serve(t, pouring(&sent)))
	ctx, client := s.calls(
		grpc.WithStaticStreamWindowSize(clientWindow), grpc.WithStaticConnWindowSize(streams*clientWindow))
	call := func(client testgrpc.TestServiceClient) {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if _, err := client.UnaryCall(ctx, &unaryRequest{Payload: payload(numbered(1))}); err != nil {
			t.Fatalf("a call beside %d streams that are not read: %v", streams, err)
		}
	}
	call(client)
	before := s.memory()
	var open []testgrpc.TestService_FullDuplexCallClient
	for range streams {
		stream, err := client.FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(piece(nil)); err != nil {
			t.Fatal(err)
		}
		open = append(open, stream)
	}
	waitUntilStill(t, &sent)
	if bytes := sent.Load() * pieceBytes; bytes > streams*onTheWay {
		t.Errorf("the server could send %d MB", bytes/1_000_000)
	}
	s.assertMemory(before, streams)

	call(client)
	_, other := s.calls()
	call(other)

	for want := range pieces {
		response, err := open[streams-1].Recv()
		if err != nil {
			t.Fatal(err)
		}
		assertNumber(t, response.GetPayload().GetBody(), want)
	}
}

// A server that does not read makes the client wait.
func TestRelayedStreamsThatTheServerDoesNotReadMakeTheClientWait(t *testing.T) {
	const streams = 16
	release := make(chan struct{})
	received := make(chan error, streams)
	service := echoing()
	service.duplex = func(stream duplexStream) error {
		<-release
		for want := range pieces / 4 {
			request, err := stream.Recv()
			if err != nil {
				return err
			}
			assertNumber(t, request.GetPayload().GetBody(), want)
		}
		received <- nil
		return nil
	}
	s := relay(t, serve(t, service))
	ctx, client := s.calls()
	if _, err := client.UnaryCall(ctx, &unaryRequest{}); err != nil {
		t.Fatal(err)
	}
	before := s.memory()
	var sent atomic.Int64
	for range streams {
		stream, err := client.FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for number := range pieces / 4 {
				if stream.Send(piece(numbered(number))) != nil {
					return
				}
				sent.Add(1)
			}
		}()
	}
	waitUntilStill(t, &sent)
	if count := sent.Load(); count == streams*pieces/4 {
		t.Error("the clients could send everything")
	}
	s.assertMemory(before, streams)
	if _, err := client.UnaryCall(ctx, &unaryRequest{Payload: payload(numbered(1))}); err != nil {
		t.Fatal(err)
	}
	close(release)
	for range streams {
		within(t, patience, "end of a stream", received)
	}
}

// waitUntilStill waits until a counter has not changed for half a second.
func waitUntilStill(t *testing.T, counter *atomic.Int64) {
	t.Helper()
	last, since := int64(0), time.Now()
	waitUntil(t, "the sender to be stopped", func() bool {
		if now := counter.Load(); now != last {
			last, since = now, time.Now()
		}
		return last > 0 && time.Since(since) > 500*time.Millisecond
	})
}

// memory returns the resident memory of the sidecar in bytes, 0 if there is none.
func (s *sidecar) memory() int64 {
	s.t.Helper()
	if s.cmd == nil {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); fields[0] == "VmRSS:" {
			kilobytes, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return kilobytes * 1024
		}
	}
	s.t.Fatal("no VmRSS")
	return 0
}

func (s *sidecar) assertMemory(before, streams int64) {
	s.t.Helper()
	if grown := s.memory() - before; grown > streams*memoryOfAStream {
		s.t.Errorf("%d streams take %d MB", streams, grown/1_000_000)
	}
}
