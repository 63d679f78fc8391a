"""One gRPC call of the sidecar's GetStatus, with as much of HTTP/2 as that needs."""

import socket
import struct

DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS, ACK = 1, 4, 1
REQUEST = {
    ":method": "POST",
    ":scheme": "http",
    ":path": "/telemetry_sidecar.v1.Sidecar/GetStatus",
    ":authority": "localhost",
    "content-type": "application/grpc",
    "te": "trailers",
}


def frame(kind, flags, stream, body=b""):
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def text(value):
    return bytes([len(value)]) + value.encode()


def get_status(port, limit):
    """The message of the response as bytes; empty if there is none."""
    with socket.create_connection(("127.0.0.1", port), limit) as connection, connection.makefile("rb") as reader:
        fields = b"".join(b"\0" + text(name) + text(value) for name, value in REQUEST.items())
        connection.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(SETTINGS, 0, 0)
            + frame(HEADERS, END_HEADERS, 1, fields)
            # An empty message, not compressed.
            + frame(DATA, END_STREAM, 1, bytes(5))
        )
        message = b""
        while head := reader.read(9):
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            body = reader.read(length)
            if kind == SETTINGS and not flags & ACK:
                connection.sendall(frame(SETTINGS, ACK, 0))
            elif kind == DATA:
                message += body
            elif kind == HEADERS and flags & END_STREAM:
                break
        return message[5:]
