package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const grpcurlModule = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"

var installGrpcurl = installer(grpcurlModule)

// grpcurl runs grpcurl against a sidecar, knowing no .proto file, and returns what it prints.
func (s *sidecar) grpcurl(words ...string) string {
	s.t.Helper()
	program, err := installGrpcurl()
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, program, append([]string{"-plaintext"}, words...)...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		s.t.Fatalf("%v: %v\n%s%s", command, err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

func TestGrpcurlListsTheServices(t *testing.T) {
	sidecar := start(t, echo)
	listed := strings.Fields(sidecar.grpcurl(sidecar.target, "list"))
	for _, service := range []string{"snakepit.bridge.BridgeService", "telemetry_sidecar.v1.Sidecar"} {
		if !slices.Contains(listed, service) {
			t.Errorf("%s is not among %q", service, listed)
		}
	}
}

func TestGrpcurlDescribesStreamTelemetry(t *testing.T) {
	sidecar := start(t, echo)
	described := sidecar.grpcurl(sidecar.target, "describe", "snakepit.bridge.BridgeService")
	want := "rpc StreamTelemetry ( stream .snakepit.bridge.TelemetryControl ) " +
		"returns ( stream .snakepit.bridge.TelemetryEvent )"
	if !strings.Contains(described, want) {
		t.Errorf("got %s", described)
	}
}

func TestGrpcurlAsksVersion1OfReflection(t *testing.T) {
	sidecar := start(t, echo)
	method := "grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
	answer := sidecar.grpcurl("-d", `{"list_services": ""}`, sidecar.target, method)
	if !strings.Contains(answer, `"telemetry_sidecar.v1.Sidecar"`) {
		t.Errorf("got %s", answer)
	}
}

func TestGrpcurlCallsGetStatus(t *testing.T) {
	sidecar := start(t, echo)
	sidecar.emit("python.call.start", 1)
	waitUntil(t, "the event", func() bool {
		return number(field(sidecar.status(), "stream").Message(), "events") == 1
	})
	var status struct {
		Worker  struct{ Running bool }
		Stream  struct{ Events, Decoded string }
		Backlog struct{ Waiting string }
	}
	printed := sidecar.grpcurl(sidecar.target, "telemetry_sidecar.v1.Sidecar/GetStatus")
	if err := json.Unmarshal([]byte(printed), &status); err != nil {
		t.Fatalf("%v: %s", err, printed)
	}
	if !status.Worker.Running || status.Stream.Events != "1" || status.Backlog.Waiting != "1" {
		t.Errorf("got %s", printed)
	}
}

func TestGrpcurlSubscribes(t *testing.T) {
	sidecar := start(t, gated("sh", workers+"/hello.sh"), "--linger", "60s")
	sidecar.write("go\n")
	// Its input ends at once, and with it the control side.
	printed := sidecar.grpcurl("-d", "", sidecar.target, "snakepit.bridge.BridgeService/StreamTelemetry")
	if events := strings.Count(printed, `"eventParts"`); events != 5 {
		t.Errorf("%d events: %s", events, printed)
	}
	if !strings.Contains(printed, `"NaN"`) {
		t.Errorf("no NaN: %s", printed)
	}
	if code := sidecar.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
