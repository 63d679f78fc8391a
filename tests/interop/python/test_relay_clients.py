"""Clients on other libraries, and what compressed messages are on the wire."""

import asyncio
import shutil
import subprocess
import zlib

import grpc
import grpclib.client
import grpclib.const
import grpclib.exceptions
import pytest

from raw_http2 import MESSAGE_PREFIX, RawSubscriber
from upstream import Upstream, path, unary
from waiting import TIMEOUT, wait_until

TEXT = b"again and again, " * 1000


def framed(data, compressed=False):
    return MESSAGE_PREFIX.pack(compressed, len(data)) + data


def test_asyncio_of_grpcio(relay):
    sidecar, upstream = relay()

    async def calls():
        async with grpc.aio.insecure_channel(sidecar.target) as channel:
            echo = channel.unary_unary(path("Echo"))
            answers = await asyncio.gather(*(echo(b"%d" % number, timeout=TIMEOUT) for number in range(500)))
            assert answers == [b"%d" % number for number in range(500)]
            counted = channel.unary_stream(path("Count"))(b"100", timeout=TIMEOUT)
            assert [answer async for answer in counted] == [b"%d" % number for number in range(100)]
            chat = channel.stream_stream(path("Chat"))(timeout=TIMEOUT)
            for number in range(50):
                await chat.write(b"%d" % number)
                assert await chat.read() == b"re: %d" % number
            await chat.done_writing()
            assert await chat.read() is grpc.aio.EOF
            waiting = channel.unary_unary(path("Wait"))(b"")
            await asyncio.to_thread(wait_until, "the call", lambda: "Wait" in upstream.calls)
            waiting.cancel()
            assert await asyncio.to_thread(upstream.ended.get, timeout=TIMEOUT) == "Chat"
            assert await asyncio.to_thread(upstream.ended.get, timeout=TIMEOUT) == "Wait"

    asyncio.run(calls())


class Plain:
    """Bytes as grpclib's messages."""

    __content_subtype__ = "proto"

    def encode(self, message, message_type):
        return message

    def decode(self, data, message_type):
        return data


def test_grpclib(relay):
    port = relay()[0].port

    async def calls():
        channel = grpclib.client.Channel("127.0.0.1", port, codec=Plain())
        try:
            echo = grpclib.client.UnaryUnaryMethod(channel, path("Echo"), bytes, bytes)
            assert await echo(TEXT, timeout=TIMEOUT) == TEXT
            count = grpclib.client.UnaryStreamMethod(channel, path("Count"), bytes, bytes)
            assert await count(b"100", timeout=TIMEOUT) == [b"%d" % number for number in range(100)]
            join = grpclib.client.StreamUnaryMethod(channel, path("Join"), bytes, bytes)
            assert await join([b"a", b"b"], timeout=TIMEOUT) == b"a,b"
            chat = grpclib.client.StreamStreamMethod(channel, path("Chat"), bytes, bytes)
            assert await chat([b"a", b"b"], timeout=TIMEOUT) == [b"re: a", b"re: b"]
            fail = grpclib.client.UnaryUnaryMethod(channel, path("Fail"), bytes, bytes)
            with pytest.raises(grpclib.exceptions.GRPCError) as failure:
                await fail(b"why", timeout=TIMEOUT)
            assert failure.value.status == grpclib.const.Status.FAILED_PRECONDITION
            assert failure.value.message == "why"
        finally:
            channel.close()

    asyncio.run(calls())


def test_curl(relay, tmp_path):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    (tmp_path / "request").write_bytes(framed(TEXT))
    words = ["curl", "--http2-prior-knowledge", "--silent", "--show-error", "--fail"]
    words += ["--max-time", str(TIMEOUT)]
    words += ["--header", "content-type: application/grpc", "--header", "te: trailers"]
    words += ["--data-binary", f"@{tmp_path / 'request'}", "--dump-header", tmp_path / "headers"]
    answer = subprocess.run(
        [*words, f"http://127.0.0.1:{relay()[0].port}{path('Echo')}"], check=True, capture_output=True
    )
    assert answer.stdout == framed(TEXT)
    assert "grpc-status: 0" in (tmp_path / "headers").read_text().splitlines()


def test_gzip_of_both_sides(relay):
    channel = relay(Upstream(compression=grpc.Compression.Gzip))[0].channel()
    options = {"timeout": TIMEOUT, "compression": grpc.Compression.Gzip}
    assert unary(channel, "Echo")(TEXT, **options) == TEXT
    joined = channel.stream_unary(path("Join"))(iter([TEXT] * 10), **options)
    assert joined == b",".join([TEXT] * 10)


def test_compressed_messages_are_relayed_as_they_are(relay):
    sidecar, upstream = relay(Upstream(compression=grpc.Compression.Gzip))
    headers = [("grpc-encoding", "gzip"), ("grpc-accept-encoding", "identity,gzip"), ("x-own", "1")]
    with RawSubscriber(sidecar.port, path=path("Echo"), headers=headers) as call:
        gzip = zlib.compressobj(wbits=31)
        call.send_last(framed(gzip.compress(TEXT) + gzip.flush(), compressed=True))
        call.read_call()
    assert call.response_headers["grpc-encoding"] == "gzip"
    [(compressed, data)] = call.messages()
    assert compressed and zlib.decompress(data, wbits=31) == TEXT
    assert call.trailers["grpc-status"] == "0"
    assert ("x-own", "1") in upstream.metadata["Echo"]
