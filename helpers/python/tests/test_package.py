"""What the package is made of."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import telemetry_sidecar

MODULES = sorted(Path(telemetry_sidecar.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_the_oldest_python_can_parse_it(path):
    ast.parse(path.read_text(), feature_version=(3, 9))


def test_all_names_are_there():
    for name in telemetry_sidecar.__all__:
        assert getattr(telemetry_sidecar, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        telemetry_sidecar.nothing


def test_importing_it_imports_little():
    code = (
        "import sys; before = set(sys.modules); import telemetry_sidecar; print(*set(sys.modules) - before)"
    )
    imported = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    for slow in (
        "inspect",
        "typing",
        "dataclasses",
        "logging",
        "asyncio",
        "subprocess",
        "decimal",
        "datetime",
    ):
        assert slow not in imported
