"""Datadog's own client in the same environment, and what the sidecar sends instead of it."""

import socket

import pytest
from datadog.dogstatsd import DogStatsd

VARIABLES = {
    "DD_ENV": "prod",
    "DD_SERVICE": "поиск v2",
    "DD_VERSION": "1.2",
    "DD_ENTITY_ID": "04652bb7-19b7-11e9-9cc6-42010a9c016d",
    "DD_EXTERNAL_ENV": "it-false,cn-search,pu-75a2b6d5",
}

TAG = "tool:検索 http://x/y"


class Server:
    """A DogStatsD server, and the variables that name its address."""

    def __init__(self, kind, folder):
        if kind == "udp":
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.bind(("127.0.0.1", 0))
            host, port = self.socket.getsockname()
            self.variables = {"DD_AGENT_HOST": host, "DD_DOGSTATSD_PORT": str(port)}
        else:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.socket.bind(f"{folder}/dsd")
            self.variables = {"DD_DOGSTATSD_URL": f"unix://{folder}/dsd"}
        self.socket.settimeout(60)

    def receive(self, count):
        """So many lines: each as name, value and type, its tags, and its other fields."""
        lines = []
        while len(lines) < count:
            lines += self.socket.recv(65536).decode().splitlines()
        return sorted(map(parsed, lines))


def parsed(line):
    metric, kind, *fields = line.split("|")
    # The client and the agent's other clients find the container in different ways.
    fields = [field for field in fields if not field.startswith("c:")]
    tags = [tag for field in fields if field.startswith("#") for tag in field[1:].split(",")]
    return f"{metric}|{kind}", sorted(tags), [field for field in fields if not field.startswith("#")]


@pytest.mark.parametrize("kind", ["udp", "unix"])
def test_lines_are_those_of_datadogs_client(start, tmp_path, monkeypatch, kind):
    server = Server(kind, tmp_path)
    for name, value in (VARIABLES | server.variables).items():
        monkeypatch.setenv(name, value)

    client = DogStatsd(disable_telemetry=True)
    client.increment("snakepit.t.stop", tags=[TAG])
    client.timing("snakepit.t.duration", 12.5, tags=["result:ok", TAG])
    client.distribution("snakepit.t.lag", 2.5, tags=[TAG])
    client.gauge("snakepit.t.rss", 7, tags=[TAG])
    client.flush()
    expected = server.receive(4)
    assert all(len(tags) >= 5 and fields for _, tags, fields in expected)

    # 1 stands for the address of the variables.
    sidecar = start(export_statsd=1, metric_label="tool", metric_kind="*.lag=distribution")
    measurements = {"duration": 12_500_000, "lag": 2.5, "rss": 7}
    sidecar.emit("t.stop", measurements=measurements, metadata={"tool": TAG.split(":", 1)[1]})
    assert server.receive(4) == expected
    sidecar.end_worker()
    assert sidecar.wait() == 0
