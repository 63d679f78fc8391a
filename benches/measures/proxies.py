"""Relays in front of a gRPC server: the sidecar, HAProxy and nginx, each with one thread.

HAProxy and nginx have the configurations below: HTTP/2 without TLS on both sides, connections to the server
kept open, no logs. Everything else, buffers and windows included, has its default. nginx opens a connection
to the server for each call in flight; the other two multiplex calls.
"""

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from .processes import PROGRAMS, Failed, Process, memory_mb, running_seconds, shown, sidecars

HAPROXY = """
global
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    http-reuse always
frontend calls
    bind 127.0.0.1:{port} proto h2
    default_backend worker
backend worker
    server worker 127.0.0.1:{upstream} proto h2
"""

NGINX = """
daemon off;
worker_processes 1;
pid {directory}/pid;
error_log stderr error;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 0;
    grpc_read_timeout 1h;
    grpc_send_timeout 1h;
    # The default closes a connection after 1,000 calls.
    keepalive_requests 1000000000;
    upstream worker {{
        server 127.0.0.1:{upstream};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} http2;
        location / {{ grpc_pass grpc://worker; }}
    }}
}}
"""

OTHERS = {"HAProxy": "haproxy", "nginx": "nginx"}


class Proxy:
    """A running relay."""

    def __init__(self, name, upstream):
        self.name = name
        self.directory = tempfile.TemporaryDirectory()
        directory = Path(self.directory.name)
        if name in PROGRAMS:
            ready = directory / "ready"
            words = [PROGRAMS[name], "--upstream", f"127.0.0.1:{upstream}", "--ready-file", str(ready)]
            # The wrapped command is not the server, so that its cost is not counted.
            self.process = Process([*words, "--", "cat"], stdin=subprocess.PIPE)
            self.port = self._wait(lambda: ready.exists() and int(ready.read_text()))
        else:
            self.port = free_port()
            text = {"HAProxy": HAPROXY, "nginx": NGINX}[name]
            configuration = directory / "configuration"
            configuration.write_text(text.format(port=self.port, upstream=upstream, directory=directory))
            words = {"HAProxy": ["haproxy", "-db", "-f"], "nginx": ["nginx", "-e", "stderr", "-c"]}[name]
            self.process = Process([*words, str(configuration)])
            self._wait(lambda: accepts(self.port))

    def _wait(self, ready):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self.process.popen.poll() is None:
            if answer := ready():
                return answer
            time.sleep(0.01)
        raise Failed(f"{shown(self.process.words)}: did not start")

    def pids(self):
        """Returns its processes: nginx has a master and a worker. The wrapped command is not among them."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *(int(child) for child in children if comm(child) != "cat")]

    def cpu_s(self):
        return sum(running_seconds(pid) for pid in self.pids())

    def memory_mb(self):
        """Returns resident memory and its peak since `forget_peak`."""
        pids = self.pids()
        return tuple(sum(memory_mb(pid, field) for pid in pids) for field in ("VmRSS", "VmHWM"))

    def forget_peak(self):
        for pid in self.pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def stop(self):
        self.process.terminate()
        self.directory.cleanup()


def names():
    """Returns the relays that there are."""
    return [*sidecars(), *(name for name, program in OTHERS.items() if shutil.which(program))]


def versions():
    """Describes HAProxy and nginx, as far as they are installed."""
    found = []
    if "HAProxy" in names():
        done = subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=True)
        found.append(f"HAProxy {done.stdout.split()[2]}")
    if "nginx" in names():
        done = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True)
        found.append(f"nginx {done.stderr.split('/')[1].strip()}")
    return ", ".join(found)


def comm(pid):
    return Path(f"/proc/{pid}/comm").read_text().strip()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
