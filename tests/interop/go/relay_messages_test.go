package interop

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

func TestRelayedMessageOf100MBBothWays(t *testing.T) {
	ctx, client := relay(t, serve(t, echoing())).calls()
	body := make([]byte, 100_000_000)
	if _, err := rand.NewChaCha8([32]byte{}).Read(body); err != nil {
		t.Fatal(err)
	}
	response, err := client.UnaryCall(ctx, &unaryRequest{Payload: payload(body)})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(response.GetPayload().GetBody(), body) {
		t.Error("the message has changed on the way")
	}
}

func TestRelayedSmallMessagesStayInOrder(t *testing.T) {
	const count = 20_000
	ctx, client := relay(t, serve(t, echoing())).calls()
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for number := range count {
			if stream.Send(piece([]byte(fmt.Sprint(number)))) != nil {
				return // Recv has the error
			}
		}
		_ = stream.CloseSend()
	}()
	for want := range count {
		response, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if got := string(response.GetPayload().GetBody()); got != fmt.Sprint(want) {
			t.Fatalf("message %s came in the place of message %d", got, want)
		}
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestRelayedStreamsOfOneConnectionAtATime(t *testing.T) {
	const count = 300
	ctx, client := relay(t, serve(t, echoing())).calls()
	var streams []testgrpc.TestService_FullDuplexCallClient
	for number := range count {
		stream, err := client.FullDuplexCall(ctx)
		if err != nil {
			t.Fatalf("stream %d: %v", number, err)
		}
		streams = append(streams, stream)
	}
	// All streams are open at once: each gets its first response before any gets its second.
	for range 2 {
		for number, stream := range streams {
			if err := stream.Send(piece([]byte(fmt.Sprint(number)))); err != nil {
				t.Fatalf("stream %d: %v", number, err)
			}
		}
		for number, stream := range streams {
			response, err := stream.Recv()
			if err != nil {
				t.Fatalf("stream %d: %v", number, err)
			}
			if got := string(response.GetPayload().GetBody()); got != fmt.Sprint(number) {
				t.Fatalf("stream %d got %q", number, got)
			}
		}
	}
}

// mirrored returns the metadata of a request, as headers and as trailers.
func mirrored() *scripted {
	return &scripted{unary: func(ctx context.Context, _ *unaryRequest) (*unaryResponse, error) {
		received, _ := metadata.FromIncomingContext(ctx)
		mirror := metadata.MD{}
		for key, values := range received {
			if strings.HasPrefix(key, "x-") {
				mirror[key] = values
			}
		}
		if err := grpc.SetHeader(ctx, mirror); err != nil {
			return nil, err
		}
		return &unaryResponse{}, grpc.SetTrailer(ctx, mirror)
	}}
}

func TestRelayedMetadata(t *testing.T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	cases := map[string]metadata.MD{
		"text, several values": metadata.Pairs("x-text", "one  two", "x-text", "three, four", "x-empty", ""),
		"every byte":           metadata.Pairs("x-bytes-bin", string(every), "x-bytes-bin", ""),
		"64 KiB":               metadata.Pairs("x-large", strings.Repeat("large!", 64*1024/6)),
		"1,000 keys":           manyKeys(1000),
	}
	s := relay(t, serve(t, mirrored()))
	for name, sent := range cases {
		t.Run(name, func(t *testing.T) {
			ctx, client := s.calls()
			var header, trailer metadata.MD
			_, err := client.UnaryCall(metadata.NewOutgoingContext(ctx, sent), &unaryRequest{},
				grpc.Header(&header), grpc.Trailer(&trailer))
			if err != nil {
				t.Fatal(err)
			}
			for part, received := range map[string]metadata.MD{"header": header, "trailer": trailer} {
				for key, values := range sent {
					if got := received[key]; fmt.Sprint(got) != fmt.Sprint(values) {
						t.Errorf("%s %s: got %.80q, want %.80q", part, key, got, values)
					}
				}
			}
		})
	}
}

func manyKeys(count int) metadata.MD {
	keys := metadata.MD{}
	for number := range count {
		keys.Set(fmt.Sprintf("x-key-%d", number), fmt.Sprint(number))
	}
	return keys
}

func TestRelayedStatusWithDetails(t *testing.T) {
	detail := &testpb.Payload{Body: bytes.Repeat([]byte{0, 255, '\n'}, 4000)}
	want, err := status.New(codes.FailedPrecondition, "no:\n%, ü and 🦀").WithDetails(detail)
	if err != nil {
		t.Fatal(err)
	}
	failing := &scripted{
		unary:  func(context.Context, *unaryRequest) (*unaryResponse, error) { return nil, want.Err() },
		duplex: func(duplexStream) error { return want.Err() },
	}
	ctx, client := relay(t, serve(t, failing)).calls()
	_, unary := client.UnaryCall(ctx, &unaryRequest{})
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, duplex := stream.Recv()
	for kind, err := range map[string]error{"unary": unary, "stream": duplex} {
		if got := status.Convert(err); !proto.Equal(got.Proto(), want.Proto()) {
			t.Errorf("%s: got %.200v", kind, got)
		}
	}
}

// turned is a made-up compression: it inverts each byte.
type turned struct{ encoding.Compressor }

func init() { encoding.RegisterCompressor(turned{}) }

func (turned) Name() string { return "turned" }

func (turned) Compress(writer io.Writer) (io.WriteCloser, error) {
	return turningWriter{writer}, nil
}

func (turned) Decompress(reader io.Reader) (io.Reader, error) {
	text, err := io.ReadAll(reader)
	return bytes.NewReader(turn(text)), err
}

type turningWriter struct{ io.Writer }

func (w turningWriter) Write(text []byte) (int, error) { return w.Writer.Write(turn(text)) }
func (turningWriter) Close() error                     { return nil }

func turn(text []byte) []byte {
	turned := make([]byte, len(text))
	for i, b := range text {
		turned[i] = ^b
	}
	return turned
}

func TestRelayedCompression(t *testing.T) {
	body := bytes.Repeat([]byte("compressible "), 100_000)
	for _, name := range []string{gzip.Name, "turned"} {
		t.Run(name, func(t *testing.T) {
			var lock sync.Mutex
			var observed []string
			note := observer(func(event any) {
				lock.Lock()
				defer lock.Unlock()
				header, ok := event.(*stats.InHeader)
				// The sidecar has a call of its own, for telemetry.
				if ok && (header.Client || strings.HasSuffix(header.FullMethod, "/UnaryCall")) {
					observed = append(observed, header.Compression)
				}
			})
			s := relay(t, serve(t, echoing(), grpc.StatsHandler(note)))
			client := testgrpc.NewTestServiceClient(s.connect(grpc.WithStatsHandler(note)))
			ctx, _ := s.calls()
			request := &unaryRequest{Payload: payload(body)}
			response, err := client.UnaryCall(ctx, request, grpc.UseCompressor(name))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(response.GetPayload().GetBody(), body) {
				t.Error("the message has changed on the way")
			}
			lock.Lock()
			defer lock.Unlock()
			if fmt.Sprint(observed) != fmt.Sprintf("[%s %s]", name, name) {
				t.Errorf("grpc-encoding of request and response: %q", observed)
			}
		})
	}
}
