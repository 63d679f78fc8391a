"""A worker with a child, for service managers: each prints to stderr that it has received SIGTERM, and ends.

Prints one event at the start and one at the end, its arguments to stdout, and `READY=1` to NOTIFY_SOCKET.
"""

import os
import signal
import socket
import subprocess
import sys

# Its stdin ends with the worker: it does not outlive a worker that is killed.
CHILD = "trap 'echo child received TERM >&2; exit' TERM; echo child runs >&2; read -r end"


def emit(event):
    os.write(2, f'TELEMETRY:{{"event": "{event}"}}\n'.encode())


def notify(text):
    if path := os.environ.get("NOTIFY_SOCKET"):
        address = "\0" + path[1:] if path.startswith("@") else path
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(text.encode(), address)


def main():
    child = subprocess.Popen(["sh", "-c", CHILD], stdin=subprocess.PIPE)  # before the mask, which it would inherit
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print(f"arguments {sys.argv[1:]}, user {os.getuid()}", flush=True)
    emit("worker.ready")
    notify("READY=1\nSTATUS=works")
    signal.sigwait({signal.SIGTERM})
    os.write(2, b"worker received TERM\n")
    child.wait()
    emit("worker.stopping")
    received = signal.sigtimedwait({signal.SIGTERM}, 0.1)
    os.write(2, b"worker received TERM again\n" if received else b"worker ends\n")


if __name__ == "__main__":
    main()
