"""Generates messages and stubs from proto/ on demand; none are stored.

Needs `pip install grpcio grpcio-tools`. This is a module that the programs in this folder import.
"""

import importlib
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

PROTO = Path(__file__).resolve().parents[2] / "proto"


def load(name):
    """Returns the modules generated from proto/NAME.proto: messages and stubs."""
    for package in ("grpc", "grpc_tools"):
        if not importlib.util.find_spec(package):
            sys.exit(f"there is no Python module {package} here: pip install grpcio grpcio-tools")
    with tempfile.TemporaryDirectory() as folder:
        # A separate process, so that the compiler's memory is not counted as the worker's.
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTO}"]
        outputs = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
        if subprocess.run([*command, *outputs, f"{name}.proto"]).returncode:
            sys.exit(f"{name}.proto cannot be compiled")
        sys.path.insert(0, folder)
        try:
            return tuple(importlib.import_module(name + kind) for kind in ("_pb2", "_pb2_grpc"))
        finally:
            sys.path.remove(folder)
