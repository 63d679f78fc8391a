"""Where it can be reached: TCP, unix sockets, several at once."""

import stat

from sidecar import ECHO
from subscriber import counts

def test_a_unix_socket_is_served_and_removed_at_exit(start, tmp_path):
    path = tmp_path / "socket"
    sidecar = start(ECHO, listen=f"unix:{path}")
    assert sidecar.listeners == [f"unix:{path}"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    subscriber = sidecar.subscribe()
    for number in range(100):
        sidecar.emit("tool.execution.stop", number)
    assert sidecar.account(subscriber).name == "unix"
    sidecar.end_worker()
    assert counts(subscriber.rest()) == list(range(100))
    assert sidecar.wait() == 0
    assert not path.exists()


def test_tcp_and_a_unix_socket_are_served_together(start, tmp_path):
    path = tmp_path / "socket"
    sidecar = start(ECHO, listen=["127.0.0.1:0", f"unix:{path}"])
    port, unix = sidecar.listeners
    assert (int(port) > 0, unix) == (True, f"unix:{path}")

    over_tcp = sidecar.subscribe()
    over_unix = sidecar.subscribe(sidecar.channel(unix))
    for number in range(100):
        sidecar.emit("tool.execution.stop", number)
    sidecar.end_worker()
    assert counts(over_tcp.rest()) == counts(over_unix.rest()) == list(range(100))
    assert sidecar.wait() == 0


def test_two_ports_are_served_together(start):
    sidecar = start(ECHO, listen=["127.0.0.1:0", "127.0.0.1:0"])
    first, second = sidecar.listeners
    assert first != second
    subscribers = [sidecar.subscribe(sidecar.channel(f"127.0.0.1:{port}")) for port in (first, second)]
    sidecar.emit("tool.execution.stop", 1)
    assert [counts([subscriber.next()]) for subscriber in subscribers] == [[1], [1]]
