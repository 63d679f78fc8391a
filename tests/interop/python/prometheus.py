"""Debian's Prometheus and its promtool, and two readers of metrics that are not ours."""

import json
import subprocess
import urllib.parse
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from servers import Server, fetch, free_ports, program
from waiting import TIMEOUT, wait_until

# It scrapes five seconds after its start for the first time, however short the interval.
CONFIG = """\
global:
  scrape_interval: {interval}
  scrape_timeout: {interval}
  evaluation_interval: {interval}
rule_files: {rules}
scrape_configs:
  - job_name: telemetry-sidecar
    static_configs:
      - targets: {targets}
    file_sd_configs: {files}
  - job_name: discovered
    http_sd_configs: {urls}
"""


class Prometheus(Server):
    """Prometheus with these targets (HOST:PORT), files and URLs of targets, and files of rules."""

    def __init__(self, folder, targets, rules=(), interval="200ms", files=(), urls=()):
        super().__init__(folder)
        rules = [str(Path(rule).resolve()) for rule in rules]
        files = [{"files": [str(one) for one in files]}] if files else []
        urls = [{"url": url, "refresh_interval": "1s"} for url in urls]
        self._config = CONFIG.format(
            targets=json.dumps(targets), files=json.dumps(files), urls=json.dumps(urls), rules=json.dumps(rules),
            interval=interval,
        )

    def command(self):
        [self.port] = free_ports(1)
        (self.folder / "prometheus.yml").write_text(self._config)
        return [
            program("PROMETHEUS", "prometheus"), "--config.file=prometheus.yml",
            f"--web.listen-address=127.0.0.1:{self.port}", "--storage.tsdb.path=data", "--web.console.templates=",
            "--web.console.libraries=", "--enable-feature=exemplar-storage", "--log.level=warn",
        ]

    def is_ready(self):
        answer = fetch(f"http://127.0.0.1:{self.port}/-/ready")
        return answer and answer[0] == 200

    def api(self, path, **parameters):
        """The data of an answer, for instance api("query", query="up")."""
        query = urllib.parse.urlencode(parameters)
        status, _, body = fetch(f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}")
        answer = json.loads(body)
        assert status == 200 and answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def query(self, promql):
        """The instant vector: [(labels, number)]."""
        data = self.api("query", query=promql)
        assert data["resultType"] == "vector", data
        return [(one["metric"], float(one["value"][1])) for one in data["result"]]

    def wait_for(self, promql):
        """Waits until a query has a result, and returns it."""
        return wait_until(promql, lambda: self.query(promql))

    def wait_for_scrape(self):
        """Waits for a whole scrape of every target that has begun from now on. A page that it refuses fails the test."""
        seen = {}

        def scraped():
            targets = [one for one in self.api("targets")["activeTargets"] if one["health"] != "unknown"]
            for target in targets:
                assert target["health"] == "up", target["lastError"]
                seen.setdefault(target["scrapeUrl"], set()).add(target["lastScrape"])
            return seen and all(len(times) > 1 for times in seen.values())  # the first may have begun before

        wait_until("a scrape", scraped)


def promtool(*arguments, stdin=None):
    """What promtool has to say: nothing if all is well."""
    words = [program("PROMTOOL", "promtool"), *map(str, arguments)]
    result = subprocess.run(words, input=stdin, text=True, capture_output=True, timeout=TIMEOUT)
    return "" if result.returncode == 0 else f"{result.stdout}{result.stderr}exit {result.returncode}"


def remarks(page):
    """What promtool has to say about a page, but for names that OpenTelemetry's conventions have given: they end like those of
    a histogram, which is against a rule of style."""
    said = promtool("check", "metrics", stdin=page).splitlines()
    return [line for line in said if '"_count" suffix' not in line and line != "exit 3"]


def families(page, reader):
    """The families of a page by name. Readers forgive a series that is there twice; this does not."""
    found, series, samples = {}, set(), 0
    for family in reader(page):
        assert family.name not in found, f"a family twice: {family.name}"
        found[family.name] = family
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.items()))
            assert key not in series, f"a series twice: {key}"
            series.add(key)
            samples += 1
    # The OpenMetrics reader leaves out the second of two.
    assert samples == sum(bool(line) and line[0] != "#" for line in page.split("\n"))
    return found


def openmetrics(page):
    return families(page, read_openmetrics)


def text(page):
    return families(page, read_text)
