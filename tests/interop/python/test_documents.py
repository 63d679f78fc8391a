"""The commands of README.md, of the tutorials and of some other pages, as a reader types them, with the output that the pages show."""

import os
import sys
from pathlib import Path

import pytest

from documents import Terminals, commands, differs, run, shape
from sidecar import BINARY

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((DOCS / "tutorials").glob("*.md")),
    *(DOCS / f"{name}.md" for name in ("expect", "node", "shell")),
    ROOT / "fixtures" / "README.md",
]


@pytest.fixture
def terminals(tmp_path):
    """Terminals in a folder that looks like a checkout in which the program is installed."""
    for name in ("fixtures", "proto", "dashboards", "deploy", "helpers"):
        (tmp_path / name).symlink_to(ROOT / name)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "telemetry-sidecar").symlink_to(BINARY)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {
        "PATH": path,
        "HOME": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
        # As if the package for Python were installed.
        "PYTHONPATH": str(ROOT / "helpers" / "python"),
        "PYTEST_ADDOPTS": "-p telemetry_sidecar.pytest_plugin -p no:cacheprovider",
    }
    opened = Terminals(tmp_path, environment)
    if opened.is_alone:
        yield opened
    opened.close()
    if not opened.is_alone:
        pytest.skip("not allowed to make a PID namespace, which takes root")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_commands_print_what_the_page_shows(document, terminals, tmp_path):
    run(document, terminals, tmp_path)


def test_a_comment_says_of_each_command_whether_it_is_run():
    unknown = [where for where, block in commands(DOCUMENTS) if not block.directive]
    assert unknown == []
    assert len(commands(DOCUMENTS)) > 20


def test_numbers_and_columns_are_not_compared_and_all_else_is():
    assert shape("  4650  12.5 ms  run.log") == shape("17  3s run.log")
    assert not differs(["a 1", "…", "z 26"], ["a 3", "b", "c", "z 4"])
    assert not differs(["took … ms"], ["took 5 whole ms"])
    assert differs(["a"], ["a", "b"])
    assert differs(["0"], ["1"])
    assert not differs(["a"], ["a", "b"], whole=False)
