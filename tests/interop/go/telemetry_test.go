package interop

import (
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

func names(events []protoreflect.Message) []string {
	found := make([]string, len(events))
	for i, event := range events {
		found[i] = eventName(event)
	}
	return found
}

func assertEqual(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHeadersComeBeforeAnyEvent(t *testing.T) {
	sidecar := start(t, echo)
	subscriber := sidecar.subscribe() // returns with the headers
	if events := number(field(sidecar.status(), "stream").Message(), "events"); events != 0 {
		t.Errorf("%d events before any was printed", events)
	}
	sidecar.emit("python.call.start", 1)
	assertEqual(t, names([]protoreflect.Message{subscriber.next()}), []string{"python.call.start"})
}

func TestHelloArrivesInOrderAndTheStreamEndsWithOK(t *testing.T) {
	sidecar := start(t, gated("sh", workers+"/hello.sh"))
	subscriber := sidecar.subscribe()
	sidecar.write("go\n")
	events := subscriber.rest()
	assertEqual(t, names(events), []string{
		"tool.execution.start",
		"tool.execution.stop",
		"tool.execution.start",
		"tool.execution.stop",
		"tool.result_size",
	})
	key := protoreflect.ValueOfString("duration").MapKey()
	duration := field(events[3], "measurements").Map().Get(key).Message()
	if !math.IsNaN(field(duration, "float_value").Float()) {
		t.Errorf("the fourth event's duration is not NaN: %v", duration)
	}
	if code := sidecar.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestTenThousandEventsArriveInOrder(t *testing.T) {
	sidecar := start(t, gated("python3", workers+"/steady.py", "--count", "10000", "--rate", "5000"))
	subscriber := sidecar.subscribe()
	sidecar.write("go\n")
	for want := range int64(10_000) {
		event := subscriber.next()
		if event == nil {
			t.Fatalf("the stream has ended before event %d", want)
		}
		if got := eventCount(event); got != want {
			t.Fatalf("event %d came in the place of event %d", got, want)
		}
	}
	if event := subscriber.next(); event != nil {
		t.Errorf("one too many: %v", event)
	}
}

func TestAFilterIsAppliedWhileTheStreamIsOpen(t *testing.T) {
	sidecar := start(t, echo)
	subscriber := sidecar.subscribe()
	sidecar.control(subscriber, `filter { allow: "tool.*" deny: "*.stop" }`)
	for _, name := range []string{"tool.execution.start", "tool.execution.stop", "python.call.start"} {
		sidecar.emit(name, 0)
	}
	first := subscriber.next()

	sidecar.control(subscriber, `filter {}`)
	sidecar.emit("python.call.stop", 0)
	sidecar.endWorker()
	got := names(append([]protoreflect.Message{first}, subscriber.rest()...))
	assertEqual(t, got, []string{"tool.execution.start", "python.call.stop"})
}

func TestSwitchedOffAndOnAgain(t *testing.T) {
	sidecar := start(t, echo)
	subscriber := sidecar.subscribe()
	sidecar.control(subscriber, `toggle { enabled: false }`)
	sidecar.emit("a", 0)
	waitUntil(t, "the event to be left out", func() bool {
		return number(messages(sidecar.status(), "subscribers")[0], "switched_off") == 1
	})
	sidecar.control(subscriber, `toggle { enabled: true }`)
	sidecar.emit("b", 0)
	sidecar.endWorker()
	assertEqual(t, names(subscriber.rest()), []string{"b"})
}

func TestClosingTheControlSideAtOnceDoesNotEndTheStream(t *testing.T) {
	sidecar := start(t, echo)
	subscriber := sidecar.subscribe()
	if err := subscriber.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	sidecar.emit("a", 0)
	sidecar.emit("b", 0)
	sidecar.endWorker()
	assertEqual(t, names(subscriber.rest()), []string{"a", "b"})
}

func TestEventsBetweenTwoSubscribersWaitForTheSecond(t *testing.T) {
	sidecar := start(t, echo)
	sidecar.subscribe().leave()
	sidecar.waitForDeparture()
	sidecar.emit("a", 0)
	sidecar.emit("b", 0)
	waitUntil(t, "the events to wait", func() bool {
		return number(field(sidecar.status(), "backlog").Message(), "waiting") == 2
	})
	second := sidecar.subscribe()
	sidecar.endWorker()
	assertEqual(t, names(second.rest()), []string{"a", "b"})
}

func TestTheBooksBalanceWhileEventsStream(t *testing.T) {
	const events = 20_000
	// A queue so small that one who does not read loses events, and one who reads slowly may.
	sidecar := start(t, gated("python3", workers+"/steady.py", "--count", "20000", "--rate", "10000"),
		"--queue-capacity", "100")
	reader := sidecar.subscribe()
	sidecar.subscribe() // never reads, so it is waited for, and the books stay open
	sidecar.write("go\n")
	var received uint64
	for event := reader.next(); event != nil; event = reader.next() {
		if received%1000 == 0 {
			sidecar.status() // checks the equations
		}
		received++
	}

	sidecar.waitForDeparture()
	status := sidecar.status()
	departed, idle := field(status, "departed").Message(), messages(status, "subscribers")[0]
	if number(departed, "offered") != events || number(departed, "delivered") != received {
		t.Errorf("received %d of %d, but the books say %v", received, events, departed)
	}
	if number(idle, "offered") != events || number(idle, "dropped") == 0 {
		t.Errorf("one who does not read: %v", idle)
	}
}
