"""The command that draws the pictures of the docs."""

import os
import subprocess
import sys
from xml.etree import ElementTree

from screen import ROOT, SIDECAR


def test_the_pictures_are_drawn_from_a_real_run(tmp_path):
    command = [sys.executable, ROOT / "docs/pictures/make.py", "--to", tmp_path]
    subprocess.run(command, check=True, env=os.environ | {"SIDECAR": SIDECAR}, timeout=300)
    for name, words in {"summary": ["training.step", "checkpoint.save"], "top": ["python.call"]}.items():
        text = " ".join(ElementTree.parse(tmp_path / f"{name}.svg").getroot().itertext())
        assert all(word in text for word in words), text
        committed = ElementTree.parse(ROOT / f"docs/pictures/{name}.svg").getroot()
        assert committed.get("role") == "img"
