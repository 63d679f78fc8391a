"""``python -m telemetry_sidecar`` is the program telemetry-sidecar."""

import os
import sys

from ._binary import binary

path = binary()
os.execv(path, [path, *sys.argv[1:]])
