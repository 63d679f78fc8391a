"""The files of deploy/, with this machine's paths in place of theirs."""

import os
from pathlib import Path

from sidecar import BINARY, ROOT

DEPLOY = ROOT / "deploy"


def text(path, replacements):
    """A file of deploy/ with texts replaced. Each of them must be there: a test must not run something else."""
    content = (DEPLOY / path).read_text()
    for old, new in replacements.items():
        assert old in content, f"deploy/{path} has no {old!r}"
        content = content.replace(old, str(new))
    return content


def environment(folder, **variables):
    """This environment, in which `telemetry-sidecar` is the binary under test. Its link is in `folder`."""
    assert BINARY.exists(), BINARY
    link = folder / "bin" / "telemetry-sidecar"
    link.parent.mkdir(exist_ok=True)
    if not link.exists():
        link.symlink_to(BINARY)
    kept = {name: os.environ[name] for name in os.environ if not name.startswith("TELEMETRY_SIDECAR_")}
    return kept | {"PATH": f"{link.parent}:{os.environ['PATH']}"} | variables
