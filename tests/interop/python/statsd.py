"""StatsD's own server, as npm has it."""

import json
import os
import re
import shutil
import socket
from pathlib import Path

import pytest

from servers import Server, free_ports

STATSD = Path(__file__).resolve().parents[1] / "statsd/node_modules/statsd/stats.js"


class StatsD(Server):
    """npm statsd with its own console backend, and what that has printed, added up.

    Without Node.js or the package the test is skipped, unless STATSD says where its stats.js is.
    """

    # One JavaScript expression. As shipped, console.log would cut arrays at 100 values and objects at depth 2.
    CONFIG = """\
(require("util").inspect.defaultOptions =
  {{ depth: null, maxArrayLength: null, maxStringLength: null, breakLength: Infinity, compact: true }}, {{
  address: "127.0.0.1", port: {port}, mgmt_address: "127.0.0.1", mgmt_port: {management},
  flushInterval: 100, deleteIdleStats: true, deleteGauges: false, automaticConfigReload: false,
  prefixStats: "statsd", backends: ["./backends/console"]
}})
"""

    def command(self):
        script = os.environ.get("STATSD", STATSD)
        if "STATSD" not in os.environ and not (shutil.which("node") and STATSD.exists()):
            pytest.skip("no Node.js, or no npm ci in tests/interop/statsd")
        [self.port], [self.management] = free_ports(1, socket.SOCK_DGRAM), free_ports(1)
        config = self.CONFIG.format(port=self.port, management=self.management)
        (self.folder / "config.js").write_text(config)
        return ["node", "--no-deprecation", str(script), "config.js"]

    def is_ready(self):
        # The management port is opened after the UDP port was bound.
        try:
            with socket.create_connection(("127.0.0.1", self.management), 5) as connection:
                connection.sendall(b"health\n")
                return b"up" in connection.recv(100)
        except OSError:
            return False

    def totals(self):
        """Sums of counters, values of timers, the last gauges, and how many lines were bad."""
        counters, timers, gauges = {}, {}, {}
        # One object for each flush; what has no newline yet is not there yet.
        for line in self.output().rpartition("\n")[0].split("\n"):
            if not line.startswith("{"):
                continue
            flush = literal(line)
            for name, value in flush["counters"].items():
                counters[name] = counters.get(name, 0) + value
            for name, values in flush["timers"].items():
                timers[name] = sorted(timers.get(name, []) + values)
            gauges |= flush["gauges"]
        bad_lines = counters.get("statsd.bad_lines_seen", 0)
        return *map(without_its_own, (counters, timers, gauges)), bad_lines


def without_its_own(metrics):
    return {name: value for name, value in metrics.items() if not name.startswith("statsd.")}


TOKEN = re.compile(r"""'((?:[^'\\]|\\.)*)'|([A-Za-z_$][\w$]*)(?=:)|(-?Infinity|NaN)""")


def literal(text):
    """What Node.js printed of an object: names unquoted or in single quotes; no other strings occur."""

    def as_json(token):
        quoted, bare, number = token.groups()
        return number or json.dumps(bare if quoted is None else quoted)

    return json.loads(TOKEN.sub(as_json, text))
