package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// How long anything may take before a test gives up. Nothing takes that long; machines may be busy.
const patience = 60 * time.Second

const workers = "../../../fixtures/workers"

// echo is a worker that prints to stderr what the test writes to its stdin, until that ends.
var echo = []string{"sh", "-c", "exec cat >&2"}

// gated is a worker that starts when the test writes a line to its stdin.
func gated(command ...string) []string {
	return append([]string{"sh", "-c", `read -r go && exec "$@"`, "gate"}, command...)
}

// sidecar is a running sidecar with a worker.
type sidecar struct {
	t      *testing.T
	target string
	stdin  io.WriteCloser
	conn   *grpc.ClientConn
	exited chan struct{} // closed when command.ProcessState is there
	cmd    *exec.Cmd
}

// start starts a sidecar, which does not outlive the test.
func start(t *testing.T, worker []string, options ...string) *sidecar {
	t.Helper()
	readyFile := filepath.Join(t.TempDir(), "ready")
	words := []string{"--ready-file", readyFile, "--drain-timeout", "60s", "--queue-capacity", "100000"}
	words = append(append(append(words, options...), "--"), worker...)
	command := exec.Command(binary(t), words...)
	command.Env = cleanEnvironment()
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	s := &sidecar{t: t, stdin: stdin, cmd: command, exited: make(chan struct{})}
	go func() {
		defer close(s.exited)
		_ = command.Wait() // the exit status is in command.ProcessState
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-s.exited
		if t.Failed() {
			t.Logf("%v\nstderr: %.2000q", command.ProcessState, stderr.String())
		}
	})

	var ready []byte
	waitUntil(t, "the ready file", func() bool {
		ready, err = os.ReadFile(readyFile)
		return err == nil || s.hasExited()
	})
	if len(ready) == 0 {
		t.Fatal("the sidecar has not started")
	}
	s.target = "127.0.0.1:" + strings.TrimSpace(string(ready))
	s.conn = s.connect()
	return s
}

func binary(t *testing.T) string {
	t.Helper()
	named := os.Getenv("SIDECAR")
	if named == "" {
		named = "../../../target/release/telemetry-sidecar"
	}
	found, err := filepath.Abs(named)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// cleanEnvironment is the test's without options for the sidecar.
func cleanEnvironment() []string {
	var clean []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "TELEMETRY_SIDECAR_") {
			clean = append(clean, variable)
		}
	}
	return clean
}

// waitUntil waits for a condition.
func waitUntil(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting for %s", what)
		}
	}
}

func (s *sidecar) hasExited() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// exitCode waits for the end.
func (s *sidecar) exitCode() int {
	s.t.Helper()
	select {
	case <-s.exited:
		return s.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		s.t.Fatal("the sidecar does not exit")
		return -1
	}
}

// write writes to the worker's stdin.
func (s *sidecar) write(format string, arguments ...any) {
	s.t.Helper()
	if _, err := fmt.Fprintf(s.stdin, format, arguments...); err != nil {
		s.t.Fatal(err)
	}
}

// emit has an echo print an event.
func (s *sidecar) emit(event string, count int) {
	s.t.Helper()
	s.write("TELEMETRY:{\"event\": %q, \"measurements\": {\"count\": %d}}\n", event, count)
}

// endWorker ends an echo.
func (s *sidecar) endWorker() {
	s.t.Helper()
	if err := s.stdin.Close(); err != nil {
		s.t.Fatal(err)
	}
}

// connect makes a connection, in plain unless the options say otherwise.
func (s *sidecar) connect(options ...grpc.DialOption) *grpc.ClientConn {
	s.t.Helper()
	plain := grpc.WithTransportCredentials(insecure.NewCredentials())
	conn, err := grpc.NewClient(s.target, append([]grpc.DialOption{plain}, options...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// status reads the books, which must balance.
func (s *sidecar) status() protoreflect.Message {
	s.t.Helper()
	method := services[getStatus]
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, response := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	if err := s.conn.Invoke(ctx, path(method), request, response, grpc.WaitForReady(true)); err != nil {
		s.t.Fatal(err)
	}
	assertBalanced(s.t, response)
	return response
}

// waitForDeparture waits until a first subscriber has left.
func (s *sidecar) waitForDeparture() {
	s.t.Helper()
	waitUntil(s.t, "a subscriber to have left", func() bool { return number(s.status(), "departed_count") == 1 })
}

// assertBalanced checks every equation of the books.
func assertBalanced(t *testing.T, status protoreflect.Message) {
	t.Helper()
	balance := func(message protoreflect.Message, whole protoreflect.Name, parts ...protoreflect.Name) {
		t.Helper()
		var sum uint64
		for _, part := range parts {
			sum += number(message, part)
		}
		if total := number(message, whole); total != sum {
			t.Errorf("%s: %d, but its parts are %d: %v", whole, total, sum, message)
		}
	}
	stream := field(status, "stream").Message()
	malformed := field(stream, "malformed").Message()
	lines := number(stream, "decoded") + number(stream, "oversized")
	for _, reason := range []protoreflect.Name{"json", "not_object", "event", "shape"} {
		lines += number(malformed, reason)
	}
	if number(stream, "telemetry_lines") != lines {
		t.Errorf("telemetry_lines: %v", stream)
	}
	balance(stream, "bytes_read", "bytes_passed", "bytes_removed", "bytes_dropped", "bytes_held")
	balance(stream, "events", "decoded", "embedded")
	balance(stream, "embedded_markers", "embedded", "embedded_malformed")
	balance(field(status, "backlog").Message(), "taken_in", "handed_over", "dropped", "waiting")
	consumers := append(messages(status, "subscribers"), messages(status, "exporters")...)
	for _, consumer := range append(consumers, field(status, "departed").Message()) {
		balance(consumer, "offered",
			"delivered", "switched_off", "filtered", "sampled_out", "dropped", "abandoned", "queued")
	}
}

// subscriber is an open StreamTelemetry call whose subscription has begun.
type subscriber struct {
	t      *testing.T
	stream grpc.ClientStream
	leave  context.CancelFunc
}

// subscribe opens a stream, with no deadline, on a connection of its own.
func (s *sidecar) subscribe() *subscriber {
	s.t.Helper()
	begun := func() uint64 {
		status := s.status()
		return uint64(len(messages(status, "subscribers"))) + number(status, "departed_count")
	}
	before := begun()
	ctx, cancel := context.WithCancel(context.Background())
	s.t.Cleanup(cancel)
	description := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	method := path(services[streamTelemetry])
	stream, err := s.connect().NewStream(ctx, description, method, grpc.WaitForReady(true))
	if err != nil {
		s.t.Fatal(err)
	}
	watchdog := time.AfterFunc(patience, cancel)
	defer watchdog.Stop()
	if _, err := stream.Header(); err != nil {
		s.t.Fatal(err)
	}
	waitUntil(s.t, "the subscription to begin", func() bool { return begun() > before })
	return &subscriber{t: s.t, stream: stream, leave: cancel}
}

// control sends a control and waits until it is applied. There must be no other subscriber.
func (s *sidecar) control(sub *subscriber, text string) {
	s.t.Helper()
	applied := func() uint64 { return number(messages(s.status(), "subscribers")[0], "controls_applied") }
	before := applied()
	if err := sub.stream.SendMsg(control(s.t, text)); err != nil {
		s.t.Fatal(err)
	}
	waitUntil(s.t, "the control", func() bool { return applied() == before+1 })
}

// next is the next event, or nil when the stream has ended with status OK.
func (sub *subscriber) next() protoreflect.Message {
	sub.t.Helper()
	watchdog := time.AfterFunc(patience, sub.leave)
	defer watchdog.Stop()
	event := dynamicpb.NewMessage(services[streamTelemetry].Output())
	err := sub.stream.RecvMsg(event)
	if errors.Is(err, io.EOF) { // grpc-go's way to say OK
		return nil
	}
	if err != nil {
		sub.t.Fatal(err)
	}
	return event
}

// rest is all events until the stream ends with status OK.
func (sub *subscriber) rest() []protoreflect.Message {
	sub.t.Helper()
	var events []protoreflect.Message
	for event := sub.next(); event != nil; event = sub.next() {
		events = append(events, event)
	}
	return events
}
