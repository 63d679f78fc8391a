"""A subscriber that counts events and measures their latency until the stream ends.

    python3 benches/peer/client.py 127.0.0.1:PORT

Needs Python 3.10 or later and `pip install grpcio grpcio-tools`. It sends toggle(true), prints "subscribed"
when the server has responded, and a JSON report at the end:

    received, seconds                      events, and the time from the first to the last
    latency_p50_us, latency_p99_us         from an event's timestamp_ns to its arrival here

compare.py --client runs any other program that takes the same argument and prints these two lines.
"""

import argparse
import json
import sys
import threading
import time

import stubs
import workload

bridge, bridge_grpc = stubs.load("snakepit_bridge")

import grpc  # noqa: E402, because stubs reports in one line if it is missing

# The limit for connecting, in seconds.
TIMEOUT = 10


def controls(ended):
    """Switches the stream on; keeps the client's side open until the stream has ended."""
    yield bridge.TelemetryControl(toggle=bridge.TelemetryToggle(enabled=True))
    ended.wait()


def receive(channel):
    """Returns the arrival times and latencies of all events, in nanoseconds."""
    grpc.channel_ready_future(channel).result(TIMEOUT)
    ended = threading.Event()
    call = bridge_grpc.BridgeServiceStub(channel).StreamTelemetry(controls(ended))
    try:
        call.initial_metadata()
        print("subscribed", flush=True)
        arrivals, latencies = [], []
        for event in call:
            now = time.time_ns()
            arrivals.append(now)
            latencies.append(now - event.timestamp_ns)
        return arrivals, latencies
    finally:
        ended.set()


def report(arrivals, latencies):
    if not arrivals:
        return {"received": 0}
    return {
        "received": len(arrivals),
        "seconds": (arrivals[-1] - arrivals[0]) / 1e9,
        "latency_p50_us": workload.percentile(latencies, 0.5) / 1000,
        "latency_p99_us": workload.percentile(latencies, 0.99) / 1000,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", metavar="HOST:PORT")
    options = parser.parse_args()
    try:
        with grpc.insecure_channel(options.address) as channel:
            print(json.dumps(report(*receive(channel))), flush=True)
    except grpc.FutureTimeoutError:
        sys.exit(f"client.py: nothing accepts connections at {options.address}")
    except grpc.RpcError as error:
        sys.exit(f"client.py: the stream ended with {error.code().name}: {error.details()}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
