"""Echoes frames as Erlang ports have them with {packet, 4}: a length of four bytes, big-endian, then that many."""

import struct
import sys

while head := sys.stdin.buffer.read(4):
    (length,) = struct.unpack(">I", head)
    body = sys.stdin.buffer.read(length)
    assert len(body) == length
    sys.stderr.write(f"frame of {length}\n")
    sys.stderr.flush()
    sys.stdout.buffer.write(head + body)
    sys.stdout.buffer.flush()
sys.exit(3)
