"""The worker of deploy/compose sends to its Prometheus and to a collector; Grafana's files fit together.

There is no Docker engine, so the programs run without containers. tests/interop/go reads the file with the library
of docker compose.
"""

import shutil
import sys
from pathlib import Path

import pytest
import yaml

from collector import Collector
from deploy import DEPLOY, environment, text
from prometheus import Prometheus, promtool
from servers import Server, fetch, free_ports
from sidecar import ROOT, WORKERS
from waiting import wait_until


def compose(replacements=None):
    return yaml.safe_load(text("compose/compose.yaml", replacements or {}))["services"]


def mounts(service):
    """What a service mounts from this repository: the path in the container, and the file."""
    parts = [volume.split(":") for volume in compose()[service]["volumes"]]
    return {part[1]: (DEPLOY / "compose" / part[0]).resolve() for part in parts}


class Worker(Server):
    """The service `worker`, with another collector than Jaeger."""

    def __init__(self, folder, collector):
        super().__init__(folder)
        self._collector = collector

    def command(self):
        [self.port] = free_ports(1)
        replacements = {
            "/sidecar/telemetry-sidecar\n      - --quiet": "telemetry-sidecar\n      - --quiet",
            "- python\n      - /worker/": f"- {sys.executable}\n      - {WORKERS}/",
            "0.0.0.0:9464": f"127.0.0.1:{self.port}",
            "http://jaeger:4317": self._collector.endpoint("grpc"),
        }
        worker = compose(replacements)["worker"]
        variables = worker["environment"] | {"PATH": environment(self.folder)["PATH"], "OTEL_BSP_SCHEDULE_DELAY": "200"}
        return ["env", *(f"{name}={value}" for name, value in variables.items()), *worker["command"]]

    def is_ready(self):
        return fetch(f"http://127.0.0.1:{self.port}/healthz")


class ComposePrometheus(Prometheus):
    """The service `prometheus`, which scrapes one address faster and without DNS."""

    def __init__(self, folder, port):
        Server.__init__(self, folder)
        config = yaml.safe_load(text("compose/prometheus.yml", {"scrape_interval: 15s": "scrape_interval: 200ms"}))
        [job] = config["scrape_configs"]
        [discovery] = job.pop("dns_sd_configs")
        assert discovery["names"] == ["worker"] and discovery["port"] == 9464
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
        self._config = yaml.safe_dump(config)
        shutil.copy(mounts("prometheus")["/etc/prometheus/alerts.yml"], folder)


def test_prometheus_accepts_its_files(tmp_path):
    for path in mounts("prometheus").values():
        shutil.copy(path, tmp_path)
    assert promtool("check", "config", tmp_path / "prometheus.yml") == ""


def test_the_worker_reaches_prometheus_and_the_collector(tmp_path):
    with Collector(tmp_path / "collector") as collector, Worker(tmp_path / "worker", collector) as worker:
        with ComposePrometheus(tmp_path, worker.port) as prometheus:
            spans = wait_until("spans", collector.spans)
            assert spans[0]["resource"]["service.name"] == "worker"
            label = 'job="telemetry-sidecar",operation="tool.execution",tool="predict"'
            prometheus.wait_for(f"snakepit_operation_duration_seconds_count{{{label}}} > 0")
            assert prometheus.api("rules")["groups"]


def test_grafana_finds_the_dashboard_and_the_traces():
    sources = yaml.safe_load(text("compose/grafana/datasources.yml", {}))["datasources"]
    services = compose()
    assert {source["url"].split("/")[2].split(":")[0] for source in sources} <= services.keys()
    prometheus, jaeger = sources
    [link] = prometheus["jsonData"]["exemplarTraceIdDestinations"]
    assert link["datasourceUid"] == jaeger["uid"]
    [provider] = yaml.safe_load(text("compose/grafana/dashboards.yml", {}))["providers"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).parent == Path(provider["options"]["path"])
    assert mounts("grafana")[home] == ROOT / "dashboards/telemetry-sidecar.json"
