// Package sidecartest serves recordings to the consumer under test. It is one file, to be copied.
package sidecartest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Replay is a telemetry-sidecar that serves recorded stderr as if a worker wrote it. It waits for a subscriber
// before the first event, and waits until everything is delivered.
type Replay struct {
	// Address is HOST:PORT.
	Address string

	t      *testing.T
	exited chan error
	stderr *bytes.Buffer
}

// Start starts a replay, which ends with the test at the latest. The arguments are options of the program, such
// as "--fail-after", "10", and a recording, which is the last one. The test fails if that has no events.
// TELEMETRY_SIDECAR_BIN names the program if it is not in PATH.
func Start(t *testing.T, arguments ...string) *Replay {
	t.Helper()
	program := os.Getenv("TELEMETRY_SIDECAR_BIN")
	if program == "" {
		program = "telemetry-sidecar"
	}
	checkEvents(t, program, arguments)
	ready := filepath.Join(t.TempDir(), "ready")
	options := []string{"replay", "-q", "--no-stderr", "--timeout", "60s", "--listen", "127.0.0.1:0", "--ready-file", ready}
	command := exec.Command(program, append(options, arguments...)...)
	replay := &Replay{t: t, exited: make(chan error, 1), stderr: &bytes.Buffer{}}
	command.Stderr = replay.stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		replay.exited <- command.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
	})
	// The file is there, with its whole content, before the first event.
	for {
		if port, err := os.ReadFile(ready); err == nil {
			replay.Address = "127.0.0.1:" + strings.TrimSpace(string(port))
			return replay
		}
		select {
		case <-replay.exited:
			t.Fatalf("telemetry-sidecar has ended before it served: %s\n%s", command.ProcessState, replay.stderr)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Wait waits until everything is delivered, and fails the test if it is not.
func (replay *Replay) Wait() {
	replay.t.Helper()
	if err := <-replay.exited; err != nil {
		replay.t.Fatalf("telemetry-sidecar: %v\n%s", err, replay.stderr)
	}
}

// checkEvents fails the test if the recording has no events: the replay would end at once, and a consumer would
// wait for it.
func checkEvents(t *testing.T, program string, arguments []string) {
	t.Helper()
	decode := []string{"decode"}
	for number, argument := range arguments {
		switch {
		case number == len(arguments)-1:
			decode = append(decode, argument)
		case argument == "--embedded" || argument == "--max-line-bytes":
			decode = append(decode, argument, arguments[number+1])
		}
	}
	stderr := &bytes.Buffer{}
	command := exec.Command(program, decode...)
	command.Stderr = stderr
	events, err := command.Output()
	if command.ProcessState == nil {
		t.Fatalf("%v: put telemetry-sidecar in PATH or set TELEMETRY_SIDECAR_BIN", err)
	}
	if err == nil && len(events) == 0 {
		t.Fatalf("the recording has no event: %s", stderr)
	}
}
