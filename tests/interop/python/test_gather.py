"""Prometheus scrapes a pool of ten workers through `gather`, while workers end and others take their places.

Other sidecars may run on this host, and they are on the page, too: sums are those of an event of this test.
"""

import random
import re
import signal
import subprocess
import time

from prometheus import Prometheus, remarks
from servers import fetch
from sidecar import BINARY, ECHO
from waiting import TIMEOUT, wait_until

WORKERS = 10
ROUNDS = 12
EVENT = "gather.step"
SERIES = re.compile(r'^snakepit_events_total\{worker="(\d+)",event="gather\.step"\} (\d+)$', re.MULTILINE)
# More than two intervals of the gatherer.
LINGER = "3s"
INTERVAL = "300ms"


class Worker:
    """A sidecar whose worker prints what the test says."""

    def __init__(self, folder):
        words = ["-q", "--ready-file", f"{folder}/{{pid}}.ready", "--export-prometheus", "127.0.0.1:0", "--vitals", "1s"]
        self.process = subprocess.Popen(
            [BINARY, *words, "--linger", LINGER, "--", *ECHO],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        ready = folder / f"{self.process.pid}.ready"
        wait_until("the ready file", ready.exists)
        self.address = f"127.0.0.1:{ready.read_text().split()[-1]}"

    def emit(self, count):
        self.process.stdin.write(b'TELEMETRY:{"event": "%s"}\n' % EVENT.encode() * count)
        self.process.stdin.flush()

    def end(self):
        """Ends the worker; its sidecar lingers."""
        self.process.stdin.close()


def test_sums_never_fall_and_are_exact_in_the_end(tmp_path):
    rng = random.Random(1)
    processes = []
    ready = tmp_path / "gather.ready"
    try:
        gatherer = subprocess.Popen(
            [BINARY, "gather", "-q", "--listen", "127.0.0.1:0", "--interval", INTERVAL, "--ready-file", ready]
        )
        processes.append(gatherer)
        wait_until("the gatherer", ready.exists)
        url = f"http://127.0.0.1:{ready.read_text().strip()}"

        def start():
            worker = Worker(tmp_path)
            processes.append(worker.process)
            return worker

        workers = [start() for _ in range(WORKERS)]
        address = url.removeprefix("http://")
        with Prometheus(tmp_path / "prometheus", [address], urls=[f"{url}/sd"]) as prometheus:
            began = time.time()
            printed, highest, ended = 0, 0, []

            def page_sum():
                nonlocal highest
                status, _, page = fetch(f"{url}/metrics")
                assert status == 200
                total = sum(int(count) for _, count in SERIES.findall(page))
                assert highest <= total <= printed, (highest, total, printed)
                highest = total
                return total

            def pages_are_up():
                targets = prometheus.api("targets")["activeTargets"]
                up = {one["labels"]["instance"] for one in targets if one["health"] == "up"}
                return up.issuperset({address, *(worker.address for worker in workers)})

            wait_until("all targets of http_sd", pages_are_up)
            for _ in range(ROUNDS):
                for worker in workers:
                    count = rng.randrange(100)
                    printed += count
                    worker.emit(count)
                # Some end right after their last events, and others take their places.
                for worker in rng.sample(workers, 2):
                    worker.end()
                    ended.append(worker)
                    workers[workers.index(worker)] = start()
                # One is killed once its events were fetched.
                wait_until("the events", lambda: page_sum() == printed)
                killed = rng.randrange(WORKERS)
                workers[killed].process.send_signal(signal.SIGKILL)
                workers[killed].process.wait(TIMEOUT)
                workers[killed] = start()
                page_sum()
            for worker in [*workers, *ended]:
                worker.process.stdin.close()
                assert worker.process.wait(TIMEOUT) == 0
            assert page_sum() == printed
            counter = f'snakepit_events_total{{event="{EVENT}",worker!=""}}'

            def scraped():
                return [value for _, value in prometheus.query(f"sum({counter})")] == [printed]

            wait_until("the last scrape", scraped)

            # Every scrape, and what rates are made of: no series has ever fallen.
            window = f"{int(time.time() - began) + 10}s"
            seconds = 'process_cpu_time_seconds_total{worker!=""}'
            assert prometheus.query(seconds)
            for never_falling in (counter, seconds):
                assert prometheus.query(f"resets({never_falling}[{window}]) > 0") == []
            [(_, series)] = prometheus.query(f"count({counter})")
            # There may have been ten that run and those that linger.
            assert WORKERS <= series <= WORKERS + len(ended)
            scrapes = prometheus.api("query", query=f"{counter}[{window}]")
            for one in scrapes["result"]:
                values = [float(value) for _, value in one["values"]]
                assert values == sorted(values), one["metric"]
        page = fetch(f"{url}/metrics")[2]
        assert remarks(page) == []
        gatherer.send_signal(signal.SIGTERM)
        assert gatherer.wait(TIMEOUT) == 0
    finally:
        for process in processes:
            process.kill()
            process.wait()
