"""A real StatsD server, and what it understood."""

from statsd import StatsD
from waiting import wait_until


def test_counters_timers_and_gauges_are_what_the_worker_measured(start, tmp_path):
    with StatsD(tmp_path / "statsd") as statsd:
        kinds = ["*.hits=counter", "*.size=histogram"]
        sidecar = start(export_statsd=f"udp://localhost:{statsd.port}", metric_kind=kinds)
        for number in range(100):
            measurements = {"duration": number * 1_000_000, "hits": 2, "rss": number, "cold": -number}
            sidecar.emit("tool.run.stop", measurements=measurements)
        sidecar.emit("tool.run.exception", measurements={"duration": 1})
        sidecar.emit("tool", measurements={"size": 7.25, "far": 1e300, "near": 5e-324})
        sidecar.end_worker()
        expected = (
            {"snakepit.tool.run.stop": 100, "snakepit.tool.run.hits": 200, "snakepit.tool.run.exception": 1}
            | {"snakepit.tool": 1},
            {"snakepit.tool.run.duration": [0, 0.000001, *range(1, 100)], "snakepit.tool.size": [7.25]},
            {"snakepit.tool.run.rss": 99, "snakepit.tool.run.cold": -99}
            | {"snakepit.tool.far": 1e300, "snakepit.tool.near": 5e-324},
            0,
        )
        wait_until("all of it", lambda: sum(statsd.totals()[0].values()) >= 302)
        assert statsd.totals() == expected
        assert sidecar.wait() == 0


def test_no_event_makes_an_extra_metric_or_an_invalid_line(start, tmp_path):
    with StatsD(tmp_path / "statsd") as statsd:
        sidecar = start(export_statsd=f"udp://127.0.0.1:{statsd.port}")
        hostile = ["a:1|c\nb", "a|#t:x", "a;t=x", "a@0.1", "a\r\n\0b", "a/b c", "äöü", "a:1|g|@x"]
        for name in hostile:
            sidecar.emit(name, measurements={name: -1})
            sidecar.emit(name, measurements={name: float("nan")})
        sidecar.end_worker()
        clean = ["a_1_c_b", "a__t_x", "a_t_x", "a_0.1", "a___b", "a_b_c", "___", "a_1_g__x"]
        wait_until("all of it", lambda: sum(statsd.totals()[0].values()) >= 2 * len(hostile))
        counters = {f"snakepit.{name}": 2 for name in clean}
        gauges = {f"snakepit.{name}.{name}": -1 for name in clean}
        assert statsd.totals() == (counters, {}, gauges, 0)


def test_a_negative_gauge_with_tags_is_not_read_as_a_change(start, tmp_path, monkeypatch):
    monkeypatch.setenv("DD_ORIGIN_DETECTION_ENABLED", "false")
    with StatsD(tmp_path / "statsd") as statsd:
        options = {"export_statsd": f"udp://127.0.0.1:{statsd.port}", "statsd_dialect": "dogstatsd"}
        sidecar = start(**options, metric_label="tool")
        # As npm statsd shows tags: in Graphite's form, and with ASCII only.
        series = "snakepit.t.temperature;tool=x"
        for sent, value in enumerate([5, -3, -4, 2.5, -0.5], 1):
            sidecar.emit("t", measurements={"temperature": value}, metadata={"tool": "x"})
            wait_until("the event", lambda: sum(statsd.totals()[0].values()) == sent)
            assert statsd.totals()[2] == {series: value}
        sidecar.end_worker()
        assert sidecar.wait() == 0
        counters, _, _, bad_lines = statsd.totals()
        assert (counters, bad_lines) == ({"snakepit.t;tool=x": sent}, 0)
