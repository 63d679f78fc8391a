package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// installer returns a function that builds a program, once, and returns its path.
func installer(module string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		command := exec.Command("go", "install", module)
		command.Env = append(os.Environ(), "GOBIN="+temporary)
		if output, err := command.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %w\n%s", command, err, output)
		}
		name, _, _ := strings.Cut(filepath.Base(module), "@")
		return filepath.Join(temporary, name), nil
	})
}
