package interop

import (
	"os"
	"slices"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// docker compose's own library accepts the file of deploy/compose, and all that is mounted exists.
func TestComposeFile(t *testing.T) {
	files := []string{"../../../deploy/compose/compose.yaml"}
	options, err := cli.NewProjectOptions(files, cli.WithConsistency(true))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := project.ServiceNames()
	slices.Sort(names)
	want := []string{"grafana", "jaeger", "prometheus", "telemetry-sidecar", "worker"}
	if !slices.Equal(names, want) {
		t.Errorf("services %v, not %v", names, want)
	}
	for _, service := range project.Services {
		for _, volume := range service.Volumes {
			if volume.Type != types.VolumeTypeBind {
				continue
			}
			if _, err := os.Stat(volume.Source); err != nil {
				t.Errorf("%s: %v", service.Name, err)
			}
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open to other hosts", service.Name, port.Published)
			}
		}
	}
}
