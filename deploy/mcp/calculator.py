"""An MCP server whose tool prints telemetry to stderr. stdout is the protocol's."""

import json
import sys
import time

from mcp.server import MCPServer

server = MCPServer("calculator")


def emit(event, measurements=None, **metadata):
    fields = {"event": event, "measurements": measurements or {}, "metadata": metadata}
    fields["timestamp_ns"] = time.time_ns()
    sys.stderr.write(f"TELEMETRY:{json.dumps(fields)}\n")
    sys.stderr.flush()


@server.tool()
def divide(dividend: float, divisor: float) -> float:
    """Divides two numbers."""
    began = time.monotonic_ns()
    emit("tool.execution.start", tool="divide")
    try:
        quotient = dividend / divisor
    except ZeroDivisionError as error:
        duration = time.monotonic_ns() - began
        emit("tool.execution.exception", {"duration": duration}, tool="divide", error_message=str(error))
        raise
    emit("tool.execution.stop", {"duration": time.monotonic_ns() - began}, tool="divide")
    return quotient


if __name__ == "__main__":
    server.run()
