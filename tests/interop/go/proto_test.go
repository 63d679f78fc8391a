package interop

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

const (
	streamTelemetry = "snakepit.bridge.BridgeService.StreamTelemetry"
	getStatus       = "telemetry_sidecar.v1.Sidecar.GetStatus"
)

// services has the methods of both .proto files by their full names.
var services = map[protoreflect.FullName]protoreflect.MethodDescriptor{}

func parseProtos() error {
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
			ImportPaths: []string{"../../../proto"},
		}),
	}
	files, err := compiler.Compile(context.Background(), "snakepit_bridge.proto", "telemetry_sidecar.proto")
	if err != nil {
		return err
	}
	for _, file := range files {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				services[methods.Get(j).FullName()] = methods.Get(j)
			}
		}
	}
	return nil
}

// path is a method's name as it goes over the wire.
func path(method protoreflect.MethodDescriptor) string {
	return fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())
}

// control makes a TelemetryControl of its text format.
func control(t *testing.T, text string) *dynamicpb.Message {
	t.Helper()
	message := dynamicpb.NewMessage(services[streamTelemetry].Input())
	if err := prototext.Unmarshal([]byte(text), message); err != nil {
		t.Fatal(err)
	}
	return message
}

// field reads a field of a message by its name.
func field(message protoreflect.Message, name protoreflect.Name) protoreflect.Value {
	return message.Get(message.Descriptor().Fields().ByName(name))
}

// number reads a field that is a count.
func number(message protoreflect.Message, name protoreflect.Name) uint64 {
	return field(message, name).Uint()
}

// messages reads a repeated field of messages.
func messages(message protoreflect.Message, name protoreflect.Name) []protoreflect.Message {
	list := field(message, name).List()
	found := make([]protoreflect.Message, list.Len())
	for i := range found {
		found[i] = list.Get(i).Message()
	}
	return found
}

// eventName is the dotted name of a TelemetryEvent.
func eventName(event protoreflect.Message) string {
	parts := field(event, "event_parts").List()
	words := make([]string, parts.Len())
	for i := range words {
		words[i] = parts.Get(i).String()
	}
	return strings.Join(words, ".")
}

// eventCount is the measurement "count" of a TelemetryEvent.
func eventCount(event protoreflect.Message) int64 {
	key := protoreflect.ValueOfString("count").MapKey()
	value := field(event, "measurements").Map().Get(key)
	if !value.IsValid() {
		return -1
	}
	return field(value.Message(), "int_value").Int()
}
