"""Messages and stubs generated from proto/ when they are needed; none are stored.

Needs `pip install grpcio grpcio-tools`. It is no program: the others of this folder import it.
"""

import importlib
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

PROTO = Path(__file__).resolve().parents[2] / "proto"


def load(name):
    """The modules of proto/NAME.proto: its messages, and its service's stubs."""
    for package in ("grpc", "grpc_tools"):
        if not importlib.util.find_spec(package):
            sys.exit(f"there is no Python module {package} here: pip install grpcio grpcio-tools")
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own, because the compiler's memory would be counted as the worker's.
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTO}"]
        outputs = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
        if subprocess.run([*command, *outputs, f"{name}.proto"]).returncode:
            sys.exit(f"{name}.proto cannot be compiled")
        sys.path.insert(0, folder)
        try:
            return tuple(importlib.import_module(name + kind) for kind in ("_pb2", "_pb2_grpc"))
        finally:
            sys.path.remove(folder)
