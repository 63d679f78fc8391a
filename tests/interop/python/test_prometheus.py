"""Prometheus scrapes a sidecar; the dashboard and the alert rules of `dashboards/` work on what it has scraped."""

import gzip
import json
import re
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from prometheus import Prometheus, openmetrics, promtool, remarks, text
from servers import fetch, free_ports
from sidecar import ECHO, ROOT, Sidecar
from waiting import TIMEOUT, wait_until

ALERTS = ROOT / "dashboards/alerts.yml"
DASHBOARD = ROOT / "dashboards/telemetry-sidecar.json"
OPEN_METRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
EXPORT = {"export_prometheus": "127.0.0.1:0"}
# Also the timeout of a scrape. The sidecar does not wait for another one if Prometheus, on a busy machine, takes longer
# than that for the last page.
UNHURRIED = "1s"
# An OTLP exporter that soon gives up.
HASTE = {
    "OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_BSP_EXPORT_TIMEOUT": "100",
    "OTEL_BLRP_SCHEDULE_DELAY": "100", "OTEL_BLRP_EXPORT_TIMEOUT": "100",
    "OTEL_METRIC_EXPORT_INTERVAL": "200", "OTEL_METRIC_EXPORT_TIMEOUT": "100",
}


def agreeing(*sources):
    """
    A page of each source, which is a function that fetches it and its parser, with the same families. A family that is
    only shown while it is not zero may come or go between two scrapes.
    """

    def agree():
        found = [fetch_page() for fetch_page, _ in sources]
        families = [parse(page).keys() for page, (_, parse) in zip(found, sources, strict=True)]
        return all(names == families[0] for names in families) and found

    return wait_until("pages with the same families", agree)


def pages(sidecar):
    """The page in both formats, with the same families."""
    url = f"http://{sidecar.status().prometheus_address}/metrics"
    return agreeing((lambda: fetch(url)[2], text), (lambda: fetch(url, OPEN_METRICS)[2], openmetrics))


def work(sidecar):
    """One round of a worker's: spans that succeed, one that fails, a value, and a line that is no event."""
    traceparent = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
    for milliseconds in (3, 30, 300):
        span = {"metadata": {"tool": "x", "traceparent": traceparent}}
        sidecar.emit("tool.execution.start", measurements={}, **span)
        values = {"duration": milliseconds * 1_000_000, "rows": 7, "rss": 5}
        sidecar.emit("tool.execution.stop", measurements=values, **span)
    sidecar.emit("steady.stop", measurements={"duration": 30_000_000})
    sidecar.emit("tool.execution.exception", measurements={"duration": 1_000_000}, metadata={"tool": "y"})
    sidecar.write(b"TELEMETRY:oops\n")


@pytest.fixture(scope="module")
def scraped(tmp_path_factory):
    """
    A sidecar whose worker works all the time, and a Prometheus that has seen some of it. Its OTLP collector is down. The
    worker's own stream is that of another sidecar.
    """
    folder = tmp_path_factory.mktemp("sidecar")
    upstream = Sidecar(tmp_path_factory.mktemp("upstream"), ECHO, {})
    [nobody] = free_ports(1)
    options = {
        "--export-prometheus": "127.0.0.1:0", "--metric-label": "tool", "--metric-kind": "*.rows=counter",
        "--export-otlp": f"http://127.0.0.1:{nobody}", "--upstream": f"127.0.0.1:{upstream.port}",
        "--otlp-logs": True, "--vitals": "100ms",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in HASTE.items():
            patch.setenv(name, value)
        sidecar = Sidecar(folder, ECHO, options)
    done = threading.Event()

    def keep_working():
        while not done.wait(0.05):
            work(sidecar)

    worker = threading.Thread(target=keep_working)
    try:
        target = sidecar.status().prometheus_address
        worker.start()
        with Prometheus(tmp_path_factory.mktemp("prometheus"), [target], [ALERTS]) as prometheus:
            prometheus.wait_for_scrape()
            # rate() needs two samples.
            prometheus.wait_for("sum(rate(snakepit_events_total[10s])) > 0")
            yield sidecar, prometheus
    finally:
        done.set()
        if worker.is_alive():
            worker.join()
        sidecar.reap()
        upstream.reap()


def test_prometheus_has_the_workers_metrics(scraped):
    _, prometheus = scraped
    [(_, rate)] = prometheus.query('sum(rate(snakepit_events_total{event="tool.execution.stop"}[10s]))')
    assert rate > 1
    quantile = "histogram_quantile({}, sum by (le) (rate(snakepit_operation_duration_seconds_bucket{{result='ok'}}[10s])))"
    [(_, median)] = prometheus.query(quantile.format(0.5))
    [(_, p99)] = prometheus.query(quantile.format(0.99))
    assert 0.01 < median < 0.1 and 0.25 < p99 <= 0.5
    [(_, errors)] = prometheus.query(
        'sum(snakepit_operation_duration_seconds_count{result="error"}) / sum(snakepit_operation_duration_seconds_count)'
    )
    assert errors == pytest.approx(0.25, abs=0.1)
    [(labels, rows)] = prometheus.query("snakepit_tool_execution_rows_total")
    assert labels["tool"] == "x" and rows % 7 == 0 and rows > 0


def test_prometheus_has_the_sidecars_metrics(scraped):
    sidecar, prometheus = scraped
    [(labels, up)] = prometheus.query("telemetry_sidecar_worker_up")
    assert (labels["job"], up) == ("telemetry-sidecar", 1)
    [(_, malformed)] = prometheus.query('telemetry_sidecar_malformed_lines_total{reason="json"}')
    assert 0 < malformed <= sidecar.status().stream.malformed.json
    assert prometheus.query("rate(telemetry_sidecar_process_cpu_seconds_total[10s]) >= 0")


def test_prometheus_has_the_workers_vitals(scraped):
    sidecar, prometheus = scraped
    process = Path(f"/proc/{sidecar.status().worker.pid}")
    memory = dict(re.findall(r"^(Vm\w+):\s+(\d+) kB", (process / "status").read_text(), re.MULTILINE))

    def value(name):
        [(labels, value)] = prometheus.query(name)
        assert labels["job"] == "telemetry-sidecar"
        return value

    # It is a `cat`, whose numbers do not change.
    assert value("process_memory_usage_bytes") == pytest.approx(int(memory["VmRSS"]) * 1024, rel=0.2)
    assert value("process_memory_virtual_bytes") == int(memory["VmSize"]) * 1024
    assert value("telemetry_sidecar_worker_memory_pss_bytes") <= value("process_memory_usage_bytes")
    assert value("telemetry_sidecar_worker_memory_swap_bytes") == int(memory["VmSwap"]) * 1024
    assert value("telemetry_sidecar_worker_processes") == value("process_thread_count") == 1
    assert value("process_unix_file_descriptor_count") == len(list((process / "fd").iterdir()))
    assert 0 < value("process_uptime_seconds") < 3600
    modes = {labels["cpu_mode"]: seconds for labels, seconds in prometheus.query("process_cpu_time_seconds_total")}
    assert modes.keys() == {"user", "system"} and min(modes.values()) >= 0
    types = {name: entries[0]["type"] for name, entries in prometheus.api("metadata").items()}
    assert types["process_cpu_time_seconds"] == "counter"
    assert types["process_memory_usage_bytes"] == "gauge"
    # The events with the same numbers are not counted here.
    assert prometheus.query('{__name__=~"snakepit_(worker|process)_.*"}') == []
    assert prometheus.query('snakepit_events_total{event=~"worker.*"}') == []


def test_an_exemplar_has_the_trace_id_of_its_event(scraped):
    _, prometheus = scraped
    now = time.time()
    series = prometheus.api(
        "query_exemplars", query="snakepit_operation_duration_seconds_bucket", start=now - 3600, end=now + 3600
    )
    exemplars = [exemplar for one in series for exemplar in one["exemplars"]]
    ids = {(exemplar["labels"]["trace_id"], exemplar["labels"]["span_id"]) for exemplar in exemplars}
    assert ids == {(TRACE_ID, "00f067aa0ba902b7")}


def test_metadata_has_types_and_help(scraped):
    _, prometheus = scraped
    metadata = prometheus.api("metadata")
    assert metadata["snakepit_operation_duration_seconds"][0]["type"] == "histogram"
    assert {entry["help"] != "" for entries in metadata.values() for entry in entries} == {True}


def test_other_parsers_accept_both_formats(scraped):
    sidecar, _ = scraped
    plain, open_metrics = pages(sidecar)
    assert remarks(plain) == []
    families = openmetrics(open_metrics)
    assert families["snakepit_events"].type == "counter"
    buckets = families["snakepit_operation_duration_seconds"].samples
    assert any(bucket.exemplar and bucket.exemplar.labels["trace_id"] == TRACE_ID for bucket in buckets)
    for family in ("snakepit_events", "snakepit_operation_duration_seconds"):
        times = [sample.value for sample in families[family].samples if sample.name == f"{family}_created"]
        assert times and all(0 <= time.time() - created < 3600 for created in times)


def test_other_parsers_accept_the_page_of_a_hostile_worker(start, tmp_path):
    sidecar = start(**EXPORT, metric_label=["le", "a.b", "a-b", "__name__", "operation"], metric_kind="h*=histogram")
    nasty = ["a", "a.count", "a_total", "", "é", "\n", '"}', "\\", "\0", "\r", "\u2028", "# EOF", "le", "x" * 10_000]
    events = 0
    for name in nasty:
        for value in (1, -1.5, 1e300, True):
            measurements = {key: value for key in nasty}
            metadata = {key: name for key in ("le", "a.b", "a-b", "__name__", "operation")}
            sidecar.emit(f"h{name}.stop", measurements=measurements, metadata=metadata)
            events += 1
    sidecar.write(b'TELEMETRY:{"event": "n", "measurements": {"nan": NaN, "inf": Infinity, "duration": -Infinity}}\n')

    def counted():
        [exporter] = sidecar.status().exporters
        return exporter.delivered == events + 1

    wait_until("all events to be counted", counted)
    plain, _ = pages(sidecar)
    assert "\nsnakepit_n_inf +Inf\n" in plain and "\nsnakepit_n_nan NaN\n" in plain
    # Names that a worker chooses may break rules of style: exit 3. They break none of syntax: exit 1.
    assert "exit 1" not in promtool("check", "metrics", stdin=plain)
    [exporter] = sidecar.status().exporters
    assert exporter.counters["collisions"] > 0 and exporter.counters["invalid"] > 0
    with Prometheus(tmp_path / "prometheus", [sidecar.status().prometheus_address]) as prometheus:
        prometheus.wait_for_scrape()
        assert prometheus.query("count({__name__=~'snakepit_.*'})")


def test_the_page_is_compressed_for_prometheus(start):
    sidecar = start(**EXPORT)
    url = f"http://{sidecar.status().prometheus_address}/metrics"
    request = urllib.request.Request(url, headers=OPEN_METRICS | {"Accept-Encoding": "gzip"})
    sizes = []

    def compressed():
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            body = answer.read()
        sizes.append(len(body))
        return gzip.decompress(body).decode()

    plain, _ = agreeing((lambda: fetch(url, OPEN_METRICS)[2], openmetrics), (compressed, openmetrics))
    assert sizes[-1] < len(plain) / 2


def test_prometheus_finds_a_pool_by_its_target_files(start, tmp_path):
    folder = tmp_path / "targets"
    folder.mkdir()
    pool = [start(**EXPORT, prometheus_targets_dir=folder) for _ in range(3)]
    with Prometheus(tmp_path / "prometheus", [], [ALERTS], files=[folder / "*.json"]) as prometheus:
        prometheus.wait_for("count(up == 1) == 3")
        commands = {one["discoveredLabels"]["__meta_telemetry_sidecar_command"]
                    for one in prometheus.api("targets")["activeTargets"]}
        assert commands == {Path(ECHO[0]).name}
        [(labels, _), *_] = prometheus.query("up")
        assert labels.keys() == {"__name__", "instance", "job"}
        # The target of one that has ended is dropped. That of one that was killed stays, and is down.
        pool[0].end_worker()
        assert pool[0].wait() == 0
        prometheus.wait_for("count(up) == 2")
        # Prometheus drops targets every five seconds: until then this one looked down, but not for a minute.
        down = 'ALERTS{alertname="TelemetrySidecarDown"}'
        wait_until("no alert", lambda: not prometheus.query(down))
        pool[1].process.kill()
        prometheus.wait_for(down)
        assert prometheus.query("count(up == 0)") and len(list(folder.iterdir())) == 2


def test_linger_waits_for_both_of_a_redundant_pair(start, tmp_path):
    sidecar = start(ECHO, linger="60s", **EXPORT)
    sidecar.subscribe().leave()
    target = sidecar.status().prometheus_address
    # The second one scrapes so rarely that the first one's last scrape would have ended the wait.
    with (
        Prometheus(tmp_path / "often", [target], interval=UNHURRIED) as often,
        Prometheus(tmp_path / "rarely", [target], interval="3s") as rarely,
    ):
        for prometheus in (often, rarely):
            prometheus.wait_for("count_over_time(telemetry_sidecar_worker_up[1m]) >= 2")
        sidecar.end_worker()
        assert sidecar.wait() == 0
        for prometheus in (often, rarely):
            [(labels, code)] = prometheus.wait_for("last_over_time(telemetry_sidecar_worker_exit_status[5m])")
            assert (labels["kind"], code) == ("code", 0)


def test_the_last_scrape_has_the_workers_exit_status(start, tmp_path):
    worker = ("sh", "-c", "cat >&2; kill -SEGV $$")
    sidecar = start(worker, linger="60s", lifecycle=True, metric_label="reason", **EXPORT)
    # Linger waits for a subscriber as well, if there never was one.
    sidecar.subscribe().leave()
    with Prometheus(tmp_path / "prometheus", [sidecar.status().prometheus_address], interval=UNHURRIED) as prometheus:
        prometheus.wait_for_scrape()
        sidecar.emit("tool.execution.stop", measurements={"duration": 1})
        sidecar.end_worker()
        assert sidecar.wait() == -11
        [(labels, signal)] = prometheus.wait_for("last_over_time(telemetry_sidecar_worker_exit_status[5m])")
        assert (labels["kind"], signal) == ("signal", 11)
        events = prometheus.query("last_over_time(snakepit_events_total[5m])")
        # The alert for a worker that ran out of memory reads the reason.
        assert {(labels["event"], labels.get("reason")): count for labels, count in events} == {
            ("tool.execution.stop", None): 1, ("worker.started", None): 1, ("worker.exited", "signal"): 1,
        }
        assert prometheus.query("last_over_time(snakepit_worker_exited_signal[5m])")[0][1] == 11
        # A worker that a signal killed has failed.
        durations = prometheus.query("last_over_time(snakepit_operation_duration_seconds_count[5m])")
        results = {labels["operation"]: labels["result"] for labels, _ in durations}
        assert results == {"tool.execution": "ok", "worker.exited": "error"}


def dashboard():
    return json.loads(DASHBOARD.read_text())


MEASUREMENTS = ["snakepit_tool_execution_rows_total", "snakepit_tool_execution_rss"]
VARIABLES = {
    "instance": ".*", "operation": ".*", "prefix": "snakepit", "measurement": MEASUREMENTS[1]
}


def with_variables(text, values):
    if "_(total|count|sum)" in text:
        values = values | {"measurement": MEASUREMENTS[0]}
    return re.sub(r"\$\{?(\w+)\}?", lambda variable: values[variable[1]], text)


def expressions():
    """The PromQL of each panel, with what a user would have chosen in place of the variables."""
    chosen = VARIABLES | {"__rate_interval": "10s", "__range": "1m"}
    return [
        pytest.param(
            with_variables(target["expr"], chosen),
            id=f"{panel['title']} {target['refId']}",
        )
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
    ]


@pytest.mark.parametrize("promql", expressions())
def test_the_dashboards_queries_have_results(scraped, promql):
    _, prometheus = scraped
    assert prometheus.query(promql)


def test_the_dashboards_variables_have_values(scraped):
    _, prometheus = scraped
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
            selector = with_variables(selector, VARIABLES)
            values = prometheus.api(f"label/{label}/values", **{"match[]": selector})
            assert values, variable["name"]
            if variable["name"] == "measurement":
                assert values == MEASUREMENTS


def panel(title):
    [found] = [panel for panel in dashboard()["panels"] if panel["title"] == title]
    return [with_variables(target["expr"], VARIABLES | {"__rate_interval": "10s", "__range": "1m"})
            for target in found["targets"]]


def test_an_operation_without_errors_has_zero_errors(scraped):
    _, prometheus = scraped
    for title in ["Errors per second", "Share of errors"]:
        [query] = panel(title)
        errors = {labels["operation"]: value for labels, value in prometheus.query(query)}
        assert errors["steady"] == 0 and errors["tool.execution"] > 0, title


def test_a_counter_is_shown_as_a_rate_and_a_gauge_is_not(scraped):
    _, prometheus = scraped
    [query] = panel("Increase per second")
    [(_, rate)] = prometheus.query(query)
    assert rate > 0
    counter, gauge = MEASUREMENTS
    assert not prometheus.query(query.replace(counter, gauge))


def test_spans_points_and_lines_that_no_collector_gets_are_shown(scraped):
    _, prometheus = scraped
    *_, undelivered = panel("Dropped events, spans, points and log lines per second")
    prometheus.wait_for(f"sum({undelivered}) > 0")
    losses = {labels["counter"] for labels, _ in prometheus.query(undelivered)}
    failed = {f"{what}_{how}" for what in ("spans", "points", "logs") for how in ("failed", "rejected")}
    assert losses == failed | {"spans_dropped", "logs_dropped"}
    _, lost = panel("Dropped")
    prometheus.wait_for(f"{lost} > 0")
    delivered = 'telemetry_sidecar_exporter_events_total{exporter="otlp",outcome="delivered"}'
    assert prometheus.query(f"{delivered} > 0")
    for counter in ("spans_failed", "logs_failed"):
        prometheus.wait_for(f'ALERTS{{alertname="TelemetryOtlpDataLost", counter="{counter}", alertstate="firing"}}')
    prometheus.wait_for('ALERTS{alertname="TelemetryOtlpMetricsFail", alertstate="pending"}')


def test_events_without_a_subscriber_are_not_shown_as_losses():
    shown = {one["title"] for one in dashboard()["panels"] if "backlog_events_total" in json.dumps(one)}
    assert shown == {"Subscribers' events"}


def test_panels_of_durations_have_exemplars(scraped):
    _, prometheus = scraped
    now, titles = time.time(), []
    for one in dashboard()["panels"]:
        for target in one.get("targets", []):
            if target.get("exemplar"):
                query = with_variables(target["expr"], VARIABLES | {"__rate_interval": "10s", "__range": "1m"})
                series = prometheus.api("query_exemplars", query=query, start=now - 3600, end=now + 3600)
                assert any(exemplar["labels"]["trace_id"] == TRACE_ID for exemplar in series[0]["exemplars"])
                titles.append(one["title"])
    assert titles == ["Durations", "p95 by operation"]


def test_lines_for_single_instances_are_limited():
    aggregated = r"\(*(0 \* )?(sum|avg|min|max|quantile|histogram_quantile)\b"
    legends = {}
    for one in dashboard()["panels"]:
        for target in one.get("targets", []):
            if "instance" in target["legendFormat"] or target["legendFormat"] == "__auto":
                assert re.search(r"topk\(\d+, .* @ end\(\)\)+$", target["expr"]), one["title"]
                legends[one["title"]] = target["legendFormat"]
            elif not target.get("instant"):
                assert re.match(aggregated, target["expr"]), one["title"]
    assert legends.keys() == {"The ten highest series", "Memory of workers", "Cores in use", "Processor", "Memory"}


def test_the_dashboard_is_complete():
    panels = dashboard()["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, f"{panel['title']} overlaps"
        taken |= cells


def test_the_alert_rules_are_valid_and_fire():
    assert promtool("check", "rules", "--lint=all", "--lint-fatal", ALERTS) == ""
    assert promtool("test", "rules", Path(__file__).with_name("alerts_test.yml")) == ""


def test_every_alert_has_a_section_in_the_runbook():
    names = re.findall(r"- alert: (\w+)", ALERTS.read_text())
    links = re.findall(r"runbook_url: (.*)#(.*)", ALERTS.read_text())
    assert links == [("docs/alerts.md", name.lower()) for name in names]
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs/alerts.md").read_text(), re.MULTILINE)
    assert sections == names


def test_prometheus_raises_an_alert(scraped):
    _, prometheus = scraped
    prometheus.wait_for('ALERTS{alertname="TelemetryMalformedLines", alertstate="firing"}')
