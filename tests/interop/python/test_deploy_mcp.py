"""The MCP SDK's client starts the server of deploy/mcp behind the sidecar, as its configuration says."""

import json
import sys

import anyio
from mcp import ClientSession, StdioServerParameters, stdio_client

from deploy import DEPLOY, environment, text


def call_tools(server, errlog):
    """Lists the tools and calls one of them twice: the names, and the results."""

    async def session():
        async with stdio_client(server, errlog=errlog) as streams, ClientSession(*streams) as client:
            await client.initialize()
            names = [tool.name for tool in (await client.list_tools()).tools]
            good = await client.call_tool("divide", {"dividend": 1, "divisor": 4})
            bad = await client.call_tool("divide", {"dividend": 1, "divisor": 0})
            return names, good, bad

    return anyio.run(session)


def test_a_client_and_a_server_of_the_official_sdk(tmp_path):
    replacements = {
        "/opt/mcp/calculator.py": DEPLOY / "mcp/calculator.py",
        '"python3"': json.dumps(sys.executable),
    }
    [server] = json.loads(text("mcp/mcp.json", replacements))["mcpServers"].values()
    events = tmp_path / "events.jsonl"
    path = environment(tmp_path)["PATH"]
    # The SDK's client passes six variables of its own environment, and those of the configuration.
    server["env"] |= {"TELEMETRY_SIDECAR_EXPORT_JSONL": str(events), "PATH": path}
    with open(tmp_path / "stderr", "w+") as errlog:
        names, good, bad = call_tools(StdioServerParameters(**server), errlog)
        errlog.seek(0)
        stderr = errlog.read()

    assert names == ["divide"]
    assert good.structured_content == {"result": 0.25} and not good.is_error
    assert bad.is_error
    assert "TELEMETRY:" not in stderr
    events = [json.loads(line) for line in events.read_text().splitlines()]
    assert [event["event"] for event in events] == [
        "worker.started",
        "tool.execution.start",
        "tool.execution.stop",
        "tool.execution.start",
        "tool.execution.exception",
        "worker.exited",
    ]
    # The end of its stdin ended the server, before the client lost patience.
    assert events[-1]["measurements"]["exit_code"] == 0
