"""Client code generated from proto/, in a temporary folder that is removed after the import."""

import importlib
import importlib.resources
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).resolve().parents[3] / "proto"


def generate():
    """The generated modules: messages and stubs of Snakepit's service, then of the sidecar's own."""
    with tempfile.TemporaryDirectory() as folder:
        googles = importlib.resources.files("grpc_tools") / "_proto"
        arguments = [f"--proto_path={PROTO}", f"--proto_path={googles}"]
        arguments += [f"--python_out={folder}", f"--grpc_python_out={folder}"]
        files = [str(path) for path in sorted(PROTO.glob("*.proto"))]
        if protoc.main(["protoc", *arguments, *files]) != 0:
            raise RuntimeError("the .proto files cannot be compiled")
        sys.path.insert(0, folder)
        try:
            names = ("snakepit_bridge", "telemetry_sidecar")
            return [importlib.import_module(name + kind) for name in names for kind in ("_pb2", "_pb2_grpc")]
        finally:
            sys.path.remove(folder)


bridge, bridge_grpc, status, status_grpc = generate()
