"""``python -m telemetry_sidecar`` is the program telemetry-sidecar."""

import os
import sys

from ._binary import binary

try:
    path = binary()
    os.execv(path, [path, *sys.argv[1:]])
except OSError as error:
    print(f"telemetry-sidecar: {error}", file=sys.stderr)
    # The program's status for its own failures.
    sys.exit(125)
