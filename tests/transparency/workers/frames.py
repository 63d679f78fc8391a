"""Echoes frames of Erlang ports with {packet, 4}: a big-endian length of four bytes, then that many."""

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
