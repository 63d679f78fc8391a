package interop

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
)

var installStatsdExporter = installer("github.com/prometheus/statsd_exporter@v0.31.0")

// statsdExporter is a running server that accepts Datadog's tags and reads a signed gauge as a change.
type statsdExporter struct {
	t       *testing.T
	web     string
	address string
}

func startStatsdExporter(t *testing.T) *statsdExporter {
	t.Helper()
	program, err := installStatsdExporter()
	if err != nil {
		t.Fatal(err)
	}
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &statsdExporter{t: t, web: web.Addr().String(), address: udp.LocalAddr().String()}
	_, _ = web.Close(), udp.Close()
	command := exec.Command(program, "--web.listen-address="+e.web, "--statsd.listen-udp="+e.address,
		"--statsd.listen-tcp=")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait() // it was killed
	})
	// The page is served after the UDP port was bound.
	waitUntil(t, "statsd_exporter", func() bool { return len(e.page()) > 0 })
	return e
}

// page returns the lines of the metrics page, none while it is not served.
func (e *statsdExporter) page() []string {
	response, err := http.Get("http://" + e.web + "/metrics")
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return nil
	}
	return strings.Split(string(text), "\n")
}

// value returns the value of a series, or "".
func (e *statsdExporter) value(series string) string {
	for _, line := range e.page() {
		if value, found := strings.CutPrefix(line, series+" "); found {
			return value
		}
	}
	return ""
}

func TestStatsdExporterReadsTagsAndAbsoluteGauges(t *testing.T) {
	t.Setenv("DD_ORIGIN_DETECTION_ENABLED", "false")
	t.Setenv("DD_ENV", "prod")
	t.Setenv("DD_TAGS", "team:a")
	exporter := startStatsdExporter(t)
	sidecar := start(t, echo, "--export-statsd", "udp://"+exporter.address, "--statsd-dialect", "dogstatsd",
		"--metric-label", "tool", "--metric-kind", "*.lag=distribution", "--statsd-distributions")
	labels := `{env="prod",team="a",tool="поиск"}`
	values := []string{"5", "-3", "-4", "2.5", "-0.5"}
	for sent, value := range values {
		sidecar.write("TELEMETRY:{\"event\": \"a\", \"measurements\": {\"temperature\": %s}, "+
			"\"metadata\": {\"tool\": \"поиск\"}}\n", value)
		waitUntil(t, "the event", func() bool {
			return exporter.value("snakepit_a"+labels) == fmt.Sprint(sent+1)
		})
		if got := exporter.value("snakepit_a_temperature" + labels); got != value {
			t.Errorf("the gauge is %s, not %s", got, value)
		}
	}
	sidecar.write("TELEMETRY:{\"event\": \"b.stop\", \"measurements\": {\"duration\": 5, \"lag\": -1}}\n")
	sidecar.endWorker()
	if code := sidecar.exitCode(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	for _, series := range []string{
		`snakepit_b_duration_count{env="prod",result="ok",team="a"}`, `snakepit_b_lag_count{env="prod",team="a"}`,
	} {
		waitUntil(t, series, func() bool { return exporter.value(series) == "1" })
	}
	for _, line := range exporter.page() {
		if strings.HasPrefix(line, "statsd_exporter_sample_errors_total{") && !strings.HasSuffix(line, " 0") {
			t.Errorf("an invalid line: %s", line)
		}
	}
}
