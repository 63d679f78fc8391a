"""The program telemetry-sidecar."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig

NAME = "telemetry-sidecar"
VARIABLE = "TELEMETRY_SIDECAR_BIN"


def binary() -> str:
    """The path of the program: what ``TELEMETRY_SIDECAR_BIN`` names, else the one that was installed with
    this package, else the one in ``PATH``. Raises FileNotFoundError."""
    __tracebackhide__ = True
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise FileNotFoundError(f"{VARIABLE}: '{named}' is not an executable file")
        return os.path.abspath(found)
    folders = [sysconfig.get_path("scripts"), os.path.dirname(sys.executable)]
    if hasattr(sysconfig, "get_preferred_scheme"):
        # Python 3.10 or later: pip install --user.
        folders.append(sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")))
    found = shutil.which(NAME, path=os.pathsep.join(folders)) or shutil.which(NAME)
    if found is None:
        raise FileNotFoundError(
            f"the program {NAME} is missing: put {NAME} in PATH or set {VARIABLE} (the wheel installs it in "
            f"{folders[0]})"
        )
    return found
