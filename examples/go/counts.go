// Package counts is a small consumer of telemetry: it counts how operations end.
package counts

import (
	"context"
	"errors"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"telemetry-sidecar/examples/bridgepb"
)

//go:generate protoc -I../../proto --go_out=bridgepb --go_opt=paths=source_relative --go-grpc_out=bridgepb --go-grpc_opt=paths=source_relative snakepit_bridge.proto

// Counts has how often each operation ended, by its name and "stop" or "exception".
type Counts map[[2]string]int

// Consume counts the events of a worker until it has ended. It subscribes again if the stream fails.
func Consume(ctx context.Context, connection *grpc.ClientConn) (Counts, error) {
	counts := Counts{}
	for {
		switch err := counts.subscribe(ctx, connection); {
		case errors.Is(err, io.EOF):
			return counts, nil
		case status.Code(err) != codes.Unavailable:
			return counts, err
		}
	}
}

// subscribe counts the events of one stream and returns its end, io.EOF if the worker has ended.
func (counts Counts) subscribe(ctx context.Context, connection *grpc.ClientConn) error {
	stream, err := bridgepb.NewBridgeServiceClient(connection).StreamTelemetry(ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	toggle := &bridgepb.TelemetryControl_Toggle{Toggle: &bridgepb.TelemetryToggle{Enabled: true}}
	if err := stream.Send(&bridgepb.TelemetryControl{Control: toggle}); err != nil {
		return err
	}
	for {
		event, err := stream.Recv()
		if err != nil {
			return err
		}
		counts.add(event)
	}
}

func (counts Counts) add(event *bridgepb.TelemetryEvent) {
	last := len(event.EventParts) - 1
	if last < 0 {
		return
	}
	if phase := event.EventParts[last]; phase == "stop" || phase == "exception" {
		counts[[2]string{strings.Join(event.EventParts[:last], "."), phase}]++
	}
}
