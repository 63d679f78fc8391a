package interop

import (
	"fmt"
	"os"
	"testing"
)

// temporary is a folder for what several tests share.
var temporary string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if temporary, err = os.MkdirTemp("", "interop-"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(temporary)
	if err := parseProtos(); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
