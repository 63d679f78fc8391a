"""supervisord runs the workers of deploy/supervisord: it stops, restarts and replaces them."""

import os
import signal
import sys
from pathlib import Path
from xmlrpc.client import ServerProxy

import grpc
import pytest
from supervisor.xmlrpc import SupervisorTransport

from deploy import environment, text
from servers import Server
from sidecar import CHANNEL_OPTIONS
from stubs import status, status_grpc
from waiting import TIMEOUT, wait_until

WORKER = Path(__file__).with_name("signalled_worker.py")
NAMES = ["worker-00", "worker-01", "worker-02"]

CONFIG = """\
[supervisord]
nodaemon=true
[unix_http_server]
file=supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[include]
files=workers.conf
"""


class Supervisord(Server):
    """supervisord with the three workers."""

    def command(self):
        replacements = {
            "/run/workers": self.folder,
            "/var/log/workers": self.folder,
            "python3 /opt/worker/worker.py": f"{sys.executable} {WORKER}",
        }
        (self.folder / "workers.conf").write_text(text("supervisord/workers.conf", replacements))
        (self.folder / "supervisord.conf").write_text(CONFIG)
        path = environment(self.folder)["PATH"]
        return ["env", f"PATH={path}", sys.executable, "-m", "supervisor.supervisord", "-c", "supervisord.conf"]

    def is_ready(self):
        if not (self.folder / "supervisor.sock").exists():
            return False
        states = self.states()
        assert "FATAL" not in states.values(), self.output()
        return states == {name: "RUNNING" for name in NAMES}

    @property
    def rpc(self):
        """What supervisorctl calls."""
        transport = SupervisorTransport(serverurl=f"unix://{self.folder}/supervisor.sock")
        return ServerProxy("http://127.0.0.1", transport).supervisor

    def states(self):
        return {one["name"]: one["statename"] for one in self.rpc.getAllProcessInfo()}

    def status(self, number):
        """The counters of a worker's sidecar, at the socket that the configuration gives it."""
        with grpc.insecure_channel(f"unix:{self.folder}/{number:02}.sock", CHANNEL_OPTIONS) as channel:
            stub = status_grpc.SidecarStub(channel)
            return stub.GetStatus(status.GetStatusRequest(), timeout=TIMEOUT, wait_for_ready=True)

    def wait_for_worker(self, number, other_than=0):
        """Waits until a worker, another one than that process, has printed its event and started its child."""
        wait_until("the worker", lambda: self.status(number).worker.pid != other_than)
        wait_until("its child", lambda: "child runs" in self.stderr(number).split("worker ends\n")[-1])
        wait_until("its event", lambda: self.status(number).stream.events)
        return self.status(number).worker.pid

    def stderr(self, number):
        return (self.folder / f"{number:02}.err.log").read_text()


@pytest.fixture
def supervisord(tmp_path):
    with Supervisord(tmp_path) as server:
        yield server


def test_three_workers(supervisord):
    pids = [supervisord.wait_for_worker(number) for number in range(3)]

    supervisord.rpc.stopProcess("worker:worker-01")
    assert supervisord.states()["worker-01"] == "STOPPED"
    # Worker and child get the signal, the worker once; what is printed after that is kept, without telemetry.
    lines = supervisord.stderr(1).splitlines()
    assert sorted(lines) == ["child received TERM", "child runs", "worker ends", "worker received TERM"]
    assert supervisord.rpc.getProcessInfo("worker:worker-01")["exitstatus"] == 0

    supervisord.rpc.startProcess("worker:worker-01")
    supervisord.wait_for_worker(1, other_than=pids[1])

    # A worker that dies is replaced; the others go on.
    os.kill(pids[2], signal.SIGKILL)
    wait_until("the restart", lambda: "worker-02 (terminated by SIGKILL; not expected)" in supervisord.output())
    supervisord.wait_for_worker(2, other_than=pids[2])
    assert supervisord.status(0).worker.pid == pids[0]
