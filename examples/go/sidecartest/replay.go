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
// as "--fail-after", "10", and recordings. TELEMETRY_SIDECAR_BIN names the program if it is not in PATH.
func Start(t *testing.T, arguments ...string) *Replay {
	t.Helper()
	program := os.Getenv("TELEMETRY_SIDECAR_BIN")
	if program == "" {
		program = "telemetry-sidecar"
	}
	ready := filepath.Join(t.TempDir(), "ready")
	options := []string{"replay", "-q", "--no-stderr", "--timeout", "60s", "--listen", "127.0.0.1:0", "--ready-file", ready}
	command := exec.Command(program, append(options, arguments...)...)
	replay := &Replay{t: t, exited: make(chan error, 1), stderr: &bytes.Buffer{}}
	command.Stderr = replay.stderr
	if err := command.Start(); err != nil {
		t.Fatalf("%v: put telemetry-sidecar in PATH or set TELEMETRY_SIDECAR_BIN", err)
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
		case err := <-replay.exited:
			t.Fatalf("telemetry-sidecar has not started: %v\n%s", err, replay.stderr)
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
