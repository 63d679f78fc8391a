package counts

import (
	"context"
	"maps"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"telemetry-sidecar/examples/sidecartest"
)

// The ends in the recording.
var expected = Counts{
	{"tool.execution", "stop"}:      20,
	{"tool.execution", "exception"}: 4,
	{"python.call", "stop"}:         6,
	{"python.call", "exception"}:    2,
}

func consume(t *testing.T, replay *sidecartest.Replay) Counts {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	credentials := grpc.WithTransportCredentials(insecure.NewCredentials())
	connection, err := grpc.NewClient(replay.Address, credentials)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	counts, err := Consume(ctx, connection)
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

func TestCountsTheEndsOfOperations(t *testing.T) {
	replay := sidecartest.Start(t, "../spans.log")
	if counts := consume(t, replay); !maps.Equal(counts, expected) {
		t.Error(counts)
	}
	replay.Wait()
}

func TestSubscribesAgainWhenTheStreamFails(t *testing.T) {
	replay := sidecartest.Start(t, "--fail-after", "10", "../spans.log")
	if counts := consume(t, replay); !maps.Equal(counts, expected) {
		t.Error(counts)
	}
	replay.Wait()
}
