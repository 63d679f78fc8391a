"""Compares the sidecar with what it replaces, an in-process gRPC stream: a table of medians.

    cargo build --release
    python3 -m venv target/peer
    target/peer/bin/pip install grpcio grpcio-tools
    target/peer/bin/python benches/peer/compare.py          # --help for more

It takes about 100 seconds for each of the --runs, and prints Markdown. Both columns get the same events from
the same workload.py (a name, three measurements, five metadata entries, a correlation id), the same client.py
and the same queue, one after the other in each run; nothing is pinned to a processor. The workers are
worker_grpc.py alone, and worker_stderr.py behind the sidecar.

How to read it:

- Emit is the time that one emit takes in the calling thread. Its other costs appear in the worker's CPU time:
  the in-process stream sends in another thread, which competes with the first for the interpreter.
- The worker sleeps between events, or computes in the rows named so: in pure Python, which is the worst case,
  since code that releases the interpreter's lock lets the other thread send.
- The server counts drops: the worker itself, or the sidecar in its GetStatus. Delivered is what the client
  received. If the sum of both is not the number of emitted events, no table is printed.
- How much passes a full queue also depends on the client. The Python client takes 14 to 30 thousand events a
  second; both columns drop events once queue and connection are full. --client COMMAND runs another client:
  see client.py for its interface. These rows vary most from run to run, also because a worker that shares its
  processor with the client emits more slowly.
- The sidecar gets 60 s to deliver queued events after the worker ends; the default is 500 ms.
- CPU is in per cent of one processor and includes the worker's pacing. Memory is peak resident memory, summed
  over all processes of the sidecar; pages that they share count in each. The memory of gRPC is saved only in
  a worker that does not use gRPC for something else.

Needs Python 3.10 or later on Linux.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import stubs
import workload

status, status_grpc = stubs.load("telemetry_sidecar")

import grpc  # noqa: E402, because stubs reports in one line if it is missing

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
IN_PROCESS, SIDECAR = "in-process gRPC", "telemetry-sidecar"
# The peer limits only the number of events, so the sidecar's limit in bytes must not take effect.
QUEUE_BYTES = 1 << 30
# The limit of a run in seconds, in addition to the duration of its workload.
TIMEOUT = 120
TICKS = os.sysconf("SC_CLK_TCK")
CLIENT = [sys.executable, str(HERE / "client.py")]
# The keys of a result that are not measurements.
LABELS = ("run", "experiment", "column")

# A row: its name, the experiment, and the format of its cell, filled with the experiment's medians.
ROWS = [
    ("emit at 1,000/s, p50", "steady", "{emit_p50_us:,.0f} µs"),
    ("emit at 1,000/s, p99", "steady", "{emit_p99_us:,.0f} µs"),
    ("emit at 1,000/s, computing, p50", "busy", "{emit_p50_us:,.0f} µs"),
    ("emit at 1,000/s, computing, p99", "busy", "{emit_p99_us:,.0f} µs"),
    ("most events/s the worker can emit", "flat out", "{emitted_per_second:,.0f}"),
    ("events/s delivered meanwhile", "flat out", "{delivered_per_second:,.0f}"),
    ("burst of 10,000, queue of 1,024: delivered", "10,000", "{delivered:,.0f}"),
    ("burst of 10,000, queue of 1,024: dropped", "10,000", "{dropped:,.0f}"),
    ("burst of 100,000, queue of 1,024: delivered", "100,000", "{delivered:,.0f}"),
    ("burst of 100,000, queue of 1,024: dropped", "100,000", "{dropped:,.0f}"),
    ("burst of 10,000, queue of 200,000: dropped", "10,000, long queue", "{dropped:,.0f}"),
    ("burst of 100,000, queue of 200,000: dropped", "100,000, long queue", "{dropped:,.0f}"),
    ("1,000/s, computing: delivered", "busy", "{delivered:,.0f}"),
    ("1,000/s, computing: dropped", "busy", "{dropped:,.0f}"),
    ("latency at 1,000/s, p50", "steady", "{latency_p50_us:,.0f} µs"),
    ("latency at 1,000/s, p99", "steady", "{latency_p99_us:,.0f} µs"),
    ("latency at 1,000/s, computing, p50", "busy", "{latency_p50_us:,.0f} µs"),
    ("latency at 1,000/s, computing, p99", "busy", "{latency_p99_us:,.0f} µs"),
    ("CPU at 1,000/s: worker", "steady", "{worker_cpu:.1f} %"),
    ("CPU at 1,000/s: sidecar", "steady", "{sidecar_cpu:.1f} %"),
    ("CPU at 1,000/s: both", "steady", "{total_cpu:.1f} %"),
    ("memory at 1,000/s: worker", "steady", "{worker_mib:.1f} MiB"),
    ("memory at 1,000/s: sidecar", "steady", "{sidecar_mib:.1f} MiB"),
    ("memory at 1,000/s: both", "steady", "{total_mib:.1f} MiB"),
    ("memory after 100,000 with a queue of 200,000: both", "100,000, long queue", "{total_mib:.1f} MiB"),
]


class Trouble(Exception):
    """An error that is reported in one line."""


def experiments(seconds):
    """Returns the workload and the queue capacity of each experiment."""
    steady = ["--rate", "1000", "--seconds", str(seconds)]
    short, long = 1024, 200_000
    return {
        "steady": (["steady", *steady], short),
        "busy": (["busy", *steady], short),
        "flat out": (["flat-out", "--seconds", "2"], short),
        "10,000": (["burst", "--events", "10000"], short),
        "100,000": (["burst", "--events", "100000"], short),
        "10,000, long queue": (["burst", "--events", "10000"], long),
        "100,000, long queue": (["burst", "--events", "100000"], long),
    }


@contextlib.contextmanager
def running(command, limit):
    """Runs a process and kills it on exit, or after `limit` seconds."""
    environment = {key: os.environ[key] for key in os.environ if not key.startswith("TELEMETRY_SIDECAR_")}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            # Ctrl-C reaches only this program, which then ends the others.
            start_new_session=True,
        )
    except OSError as error:
        raise Trouble(f"cannot run {command[0]}: {error.strerror}") from None
    deadline = threading.Timer(limit, process.kill)
    deadline.start()
    try:
        yield process
    finally:
        deadline.cancel()
        # SIGKILL of a sidecar ends its worker, too.
        process.kill()
        process.wait()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def line_of(process, who):
    """Reads the next line of a process's stdout."""
    line = process.stdout.readline().strip()
    if not line:
        raise Trouble(f"the {who} ended or took too long, and said nothing")
    return line


def report_of(process, who, keys):
    """Reads a line with a JSON object, which must have these keys."""
    line = line_of(process, who)
    try:
        report = json.loads(line)
        missing = [key for key in keys if key not in report]
    except (ValueError, TypeError):
        raise Trouble(f"the {who} printed no report but {line[:80]!r}") from None
    if missing:
        raise Trouble(f"the {who}'s report has no {', '.join(missing)}")
    return report


def address_of(process, ready_file):
    """Waits until a worker or sidecar listens; returns its address."""
    while not ready_file.exists():
        if process.poll() is not None:
            raise Trouble(f"{process.args[0]} ended with {process.returncode} before it listened")
        time.sleep(0.01)
    return f"127.0.0.1:{ready_file.read_text().strip()}"


class Counters:
    """The counters of a sidecar."""

    def __init__(self, stack, address):
        channel = stack.enter_context(grpc.insecure_channel(address))
        self._stub = status_grpc.SidecarStub(channel)

    def _read(self):
        try:
            return self._stub.GetStatus(status.GetStatusRequest(), timeout=TIMEOUT, wait_for_ready=True)
        except grpc.RpcError as error:
            raise Trouble(f"the sidecar does not report its status: {error.details()}") from None

    def _read_when(self, what, condition):
        """Waits until the condition holds; returns the counters."""
        deadline = time.monotonic() + TIMEOUT
        while not condition(counters := self._read()):
            if time.monotonic() > deadline:
                raise Trouble(f"the sidecar has not {what}")
            time.sleep(0.01)
        return counters

    def worker_pid(self):
        """Waits for the worker's process id: the sidecar listens before it starts the worker."""
        return self._read_when("started the worker", lambda counters: counters.worker.pid).worker.pid

    def dropped(self, emitted):
        """Waits until all events are read; returns how many were dropped."""
        counters = self._read_when("read all events", lambda counters: counters.stream.events == emitted)
        if not counters.subscribers:
            raise Trouble("the client left before the end")
        return counters.subscribers[0].dropped


def processes_of(sidecar, worker):
    """Returns the sidecar and its children, without the worker."""
    listings = Path(f"/proc/{sidecar}/task").glob("*/children")
    children = [int(child) for listing in listings for child in listing.read_text().split()]
    return [sidecar, *(child for child in children if child != worker)]


def cpu_seconds(pids):
    """Returns the CPU time used so far by these processes."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / TICKS


def peak_mib(pids):
    """Returns the sum of the peak resident memory of these processes."""
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def command_line(column, sidecar, words, capacity, ready_file):
    """Returns the command that starts the worker, alone or behind the sidecar."""
    worker = "worker_grpc.py" if column == IN_PROCESS else "worker_stderr.py"
    command = [sys.executable, str(HERE / worker), *words]
    common = ["--ready-file", str(ready_file), "--queue-capacity", str(capacity)]
    if column == IN_PROCESS:
        return [*command, *common]
    unbounded = ["--queue-bytes", str(QUEUE_BYTES), "--drain-timeout", "60s"]
    return [str(sidecar), *common, *unbounded, "--", *command]


def measure(column, options, words, capacity):
    """Runs one workload and returns its measurements, with the keys that ROWS uses."""
    limit = TIMEOUT + options.seconds
    with contextlib.ExitStack() as stack:
        ready_file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "ready"
        command = command_line(column, options.sidecar, words, capacity, ready_file)
        process = stack.enter_context(running(command, limit))
        address = address_of(process, ready_file)
        worker_pid, own_pids = process.pid, []
        if column == SIDECAR:
            counters = Counters(stack, address)
            worker_pid = counters.worker_pid()
            own_pids = processes_of(process.pid, worker_pid)
        client = stack.enter_context(running([*options.client, address], limit))
        if line_of(client, "client") != "subscribed":
            raise Trouble("the client did not print 'subscribed' first")

        cpu = cpu_seconds(own_pids)
        print("go", file=process.stdin, flush=True)
        worker = report_of(process, "worker", ["emitted"])
        cpu = cpu_seconds(own_pids) - cpu
        dropped = counters.dropped(worker["emitted"]) if column == SIDECAR else worker["dropped"]
        worker_mib, sidecar_mib = peak_mib([worker_pid]), peak_mib(own_pids)
        # This ends the worker and the stream.
        process.stdin.close()
        received = report_of(client, "client", ["received", "seconds", "latency_p50_us", "latency_p99_us"])

    if received["received"] + dropped != worker["emitted"]:
        raise Trouble(f"{worker['emitted']} events, {dropped} dropped, but {received['received']} received")
    sidecar_cpu = 100 * cpu / worker["seconds"]
    return {
        "emitted": worker["emitted"],
        "delivered": received["received"],
        "dropped": dropped,
        "emitted_per_second": worker["emitted"] / worker["seconds"],
        "delivered_per_second": received["received"] / received["seconds"],
        "worker_cpu": worker["cpu_percent"],
        "sidecar_cpu": sidecar_cpu,
        "total_cpu": worker["cpu_percent"] + sidecar_cpu,
        "worker_mib": worker_mib,
        "sidecar_mib": sidecar_mib,
        "total_mib": worker_mib + sidecar_mib,
        **{key: received[key] for key in received if key.startswith("latency")},
        **{key: worker[key] for key in worker if key.startswith("emit_")},
    }


def measure_all(options):
    """Runs every experiment in both columns, alternating, --runs times."""
    results = []
    for number in range(1, options.runs + 1):
        for experiment, (words, capacity) in experiments(options.seconds).items():
            for column in (IN_PROCESS, SIDECAR):
                print(f"run {number} of {options.runs}: {experiment}, {column}", file=sys.stderr)
                try:
                    found = measure(column, options, words, capacity)
                except Trouble as trouble:
                    raise Trouble(f"{experiment}, {column}: {trouble}") from None
                results.append({"run": number, "experiment": experiment, "column": column} | found)
    return results


def medians(results, experiment, column):
    """Returns the medians of all measurements of one experiment."""
    chosen = [one for one in results if (one["experiment"], one["column"]) == (experiment, column)]
    return {key: statistics.median(one[key] for one in chosen) for key in chosen[0] if key not in LABELS}


def table(results):
    """Yields the cells of each row of the Markdown table."""
    yield ["", IN_PROCESS, SIDECAR]
    yield ["---", "---", "---"]
    for name, experiment, template in ROWS:
        cells = [template.format(**medians(results, experiment, column)) for column in (IN_PROCESS, SIDECAR)]
        yield [name, "-" if "{sidecar_" in template else cells[0], cells[1]]


def conditions(options):
    """Describes the machine and the programs for the reader of the table."""
    version = subprocess.run([options.sidecar, "--version"], capture_output=True, text=True).stdout.strip()
    return {
        "runs": options.runs,
        "seconds": options.seconds,
        "sidecar": version,
        "python": platform.python_version(),
        "grpcio": importlib.metadata.version("grpcio"),
        "protobuf": importlib.metadata.version("protobuf"),
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "load at the start": round(os.getloadavg()[0], 1),
        "client": shlex.join(options.client) if options.client != CLIENT else "client.py",
    }


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    release = ROOT / "target/release/telemetry-sidecar"
    number = workload.above_zero(int)
    parser.add_argument("--sidecar", type=Path, metavar="PATH", default=release, help="the binary to measure")
    parser.add_argument("--runs", type=number, metavar="N", default=5, help="whose medians are taken")
    parser.add_argument("--seconds", type=number, metavar="N", default=10, help="how long at 1,000 events/s")
    parser.add_argument("--client", type=shlex.split, metavar="COMMAND", default=CLIENT, help="another one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run's numbers to this file")
    options = parser.parse_args()
    if not (options.sidecar.is_file() and os.access(options.sidecar, os.X_OK)):
        parser.error(f"{options.sidecar} is no program: cargo build --release")
    if options.json:
        # Fail now rather than after many minutes.
        try:
            options.json.touch()
        except OSError as error:
            parser.error(f"cannot write {options.json}: {error.strerror}")
    options.sidecar = options.sidecar.resolve()
    return options


def main():
    options = parse_arguments()
    about = conditions(options)
    results = measure_all(options)
    for cells in table(results):
        print(f"| {' | '.join(cells)} |")
    print("\nMedians. " + ", ".join(f"{key}: {value}" for key, value in about.items()) + ".")
    if options.json:
        options.json.write_text(json.dumps({"conditions": about, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    # SIGTERM raises an exception, so that all processes are killed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except Trouble as trouble:
        sys.exit(f"compare.py: {trouble}")
    except KeyboardInterrupt:
        sys.exit(130)
