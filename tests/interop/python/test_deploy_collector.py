"""The Collectors of deploy/collector: an agent that sends to a gateway, which keeps some traces.

The real ones are run if OTELCOL names an otelcol-contrib. It is too large to be fetched for each run of the tests.
"""

import json
import os
import subprocess

import pytest
import yaml

from deploy import DEPLOY, text
from servers import Server, fetch, free_ports
from sidecar import fixture
from waiting import TIMEOUT, wait_until

CONFIGURATIONS = [["agent.yaml"], ["agent.yaml", "by-trace.yaml"], ["gateway.yaml"]]
KINDS = ("receivers", "processors", "exporters")

needs_collector = pytest.mark.skipif("OTELCOL" not in os.environ, reason="OTELCOL names no otelcol-contrib")


def merged(files):
    """Files as the Collector merges them: maps by key, everything else is replaced."""

    def merge(below, above):
        if not (isinstance(below, dict) and isinstance(above, dict)):
            return above
        return below | {key: merge(below.get(key), value) for key, value in above.items()}

    result = {}
    for name in files:
        result = merge(result, yaml.safe_load(text(f"collector/{name}", {})))
    return result


@pytest.mark.parametrize("files", CONFIGURATIONS, ids=" ".join)
def test_the_pipelines_are_complete(files):
    config = merged(files)
    service = config["service"]
    assert service["extensions"] == [*config["extensions"]]
    assert service["pipelines"].keys() == {"traces", "metrics", "logs"}
    for kind in KINDS:
        used = {name for pipeline in service["pipelines"].values() for name in pipeline[kind]}
        assert used == config[kind].keys()
    for pipeline in service["pipelines"].values():
        # Memory is checked before anything is kept, and batches are made of what is left.
        assert pipeline["processors"][0] == "memory_limiter" and pipeline["processors"][-1] == "batch"


def test_traces_are_sent_to_gateways_by_their_id():
    traces = merged(["agent.yaml", "by-trace.yaml"])
    assert traces["service"]["pipelines"]["traces"]["exporters"] == ["load_balancing"]
    assert traces["exporters"]["load_balancing"]["routing_key"] == "traceID"
    assert "tail_sampling" in merged(["gateway.yaml"])["service"]["pipelines"]["traces"]["processors"]


@needs_collector
@pytest.mark.parametrize("files", CONFIGURATIONS, ids=" ".join)
def test_the_collector_accepts_the_files(files):
    words = [word for name in files for word in ("--config", DEPLOY / "collector" / name)]
    result = subprocess.run([os.environ["OTELCOL"], "validate", *words], capture_output=True, text=True, timeout=TIMEOUT)
    if 'unknown type: "load_balancing"' in result.stderr:
        pytest.skip("this Collector was built without load_balancing")
    assert result.returncode == 0, result.stderr


class Otelcol(Server):
    """A Collector that gets its addresses from variables."""

    def __init__(self, folder, name):
        super().__init__(folder)
        self._name = name

    def settings(self):
        """Further configuration, and variables."""
        return [], {}

    def command(self):
        self.grpc_port, self.http_port, self.health_port = free_ports(3)
        settings, variables = self.settings()
        settings.append("service::telemetry::metrics::level: none")  # a page at a fixed port
        words = [word for setting in settings for word in ("--config", f"yaml:{setting}")]
        words = ["--config", self._name, *words]
        return ["env", *(f"{name}={value}" for name, value in variables.items()), os.environ["OTELCOL"], *words]

    def is_ready(self):
        return fetch(f"http://127.0.0.1:{self.health_port}")


class Store(Otelcol):
    """Where the gateway sends to: writes what it receives to a file."""

    CONFIG = """\
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: 127.0.0.1:{grpc}}}, http: {{endpoint: 127.0.0.1:{http}}}}}}}}}
exporters: {{file: {{path: received, flush_interval: 100ms}}}}
extensions: {{health_check: {{endpoint: 127.0.0.1:{health}}}}}
service:
  extensions: [health_check]
  pipelines:
    traces: {{receivers: [otlp], exporters: [file]}}
    metrics: {{receivers: [otlp], exporters: [file]}}
    logs: {{receivers: [otlp], exporters: [file]}}
"""

    def __init__(self, folder):
        super().__init__(folder, "store.yaml")

    def settings(self):
        config = self.CONFIG.format(grpc=self.grpc_port, http=self.http_port, health=self.health_port)
        (self.folder / self._name).write_text(config)
        return [], {}

    def received(self, kind):
        """All resources with `resourceSpans`, `resourceMetrics` or `resourceLogs`."""
        path = self.folder / "received"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        whole = [json.loads(line) for line in lines if line.endswith("\n")]
        return [resource for line in whole for resource in line.get(kind, [])]

    def traces(self):
        """The spans of each trace."""
        traces = {}
        for resource in self.received("resourceSpans"):
            for span in resource["scopeSpans"][0]["spans"]:
                traces.setdefault(span["traceId"], []).append(span)
        return traces


class Gateway(Otelcol):
    def __init__(self, folder, store):
        super().__init__(folder, DEPLOY / "collector/gateway.yaml")
        self._store = store

    def settings(self):
        http = f"http://127.0.0.1:{self._store.http_port}"
        return [], {
            "LISTEN": f"127.0.0.1:{self.grpc_port}",
            "HEALTH": f"127.0.0.1:{self.health_port}",
            "TRACES": f"127.0.0.1:{self._store.grpc_port}",
            "METRICS": http,
            "LOGS": http,
            "DECISION_WAIT": "1s",
        }


class Agent(Otelcol):
    def __init__(self, folder, gateway):
        super().__init__(folder, DEPLOY / "collector/agent.yaml")
        self._gateway = gateway

    def settings(self):
        settings = [
            f"receivers::otlp::protocols::grpc::endpoint: 127.0.0.1:{self.grpc_port}",
            f"extensions::health_check::endpoint: 127.0.0.1:{self.health_port}",
        ]
        return settings, {"GATEWAY": f"127.0.0.1:{self._gateway}", "QUEUE": self.folder / "queue"}


def run_worker(start, agent):
    """32 traces of four spans each, eight of them with errors."""
    endpoint = f"http://127.0.0.1:{agent.grpc_port}"
    sidecar = start(fixture("spans.py"), export_otlp=True, otlp_logs=True, otlp_endpoint=endpoint)
    assert sidecar.wait() == 0


def errors(traces):
    return {name for name, spans in traces.items() if any(span["status"].get("code") == 2 for span in spans)}


@needs_collector
def test_the_gateway_keeps_whole_traces_with_errors_and_the_agent_what_waits(start, tmp_path):
    with Store(tmp_path / "store") as store:
        [gateway_port] = free_ports(1)
        # The gateway is down, and the agent restarts: nothing is lost.
        with Agent(tmp_path / "agent", gateway_port) as agent:
            run_worker(start, agent)
        with Gateway(tmp_path / "gateway", store) as gateway, Agent(tmp_path / "agent", gateway.grpc_port):
            wait_until("the traces with errors", lambda: len(errors(store.traces())) == 8)
            wait_until("metrics and logs", lambda: store.received("resourceMetrics") and store.received("resourceLogs"))
        traces = store.traces()
    assert len(traces) < 32, "a tenth of the others at most, but for chance"
    assert {len(spans) for spans in traces.values()} == {4}
    attributes = {one["key"] for one in store.received("resourceSpans")[0]["resource"]["attributes"]}
    assert {"service.instance.id", "os.type"} <= attributes, "the sidecar's, and those that the agent has detected"
