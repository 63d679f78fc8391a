package interop

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"

	"telemetry-sidecar/examples/bridgepb"
)

// The example's code was generated from the .proto file as it is; comments do not matter.
func TestGeneratedCodeOfTheExampleIsCurrent(t *testing.T) {
	file := services[streamTelemetry].ParentFile()
	expected := protodesc.ToFileDescriptorProto(file)
	expected.SourceCodeInfo = nil
	generated := protodesc.ToFileDescriptorProto(bridgepb.File_snakepit_bridge_proto)
	if !proto.Equal(expected, generated) {
		t.Error("run go generate in examples/go, with protoc, protoc-gen-go and protoc-gen-go-grpc")
	}
}
