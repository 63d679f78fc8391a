"""The services beside telemetry: status, health and reflection, and how unknown ones are answered."""

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from sidecar import fixture
from stubs import status
from subscriber import counts, filtering
from waiting import TIMEOUT, wait_until

SERVICES = ["snakepit.bridge.BridgeService", "telemetry_sidecar.v1.Sidecar"]


@pytest.mark.parametrize("service", ["", *SERVICES])
def test_health_is_serving(start, service):
    health = health_pb2_grpc.HealthStub(start().channel())
    answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_health_of_an_unknown_service_is_not_found(start):
    health = health_pb2_grpc.HealthStub(start().channel())
    with pytest.raises(grpc.RpcError) as error:
        health.Check(health_pb2.HealthCheckRequest(service="unknown.Service"), timeout=TIMEOUT)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_reflection_lists_the_services(start):
    listed = ProtoReflectionDescriptorDatabase(start().channel()).get_services()
    assert {*SERVICES, "grpc.health.v1.Health"} <= set(listed)


@pytest.mark.parametrize("service", SERVICES)
def test_reflection_describes_the_services(start, service):
    database = ProtoReflectionDescriptorDatabase(start().channel())
    described = DescriptorPool(database).FindServiceByName(service)
    methods = {method.name: method.output_type.name for method in described.methods}
    expected = {"StreamTelemetry": "TelemetryEvent", "Ping": "PingResponse", "Heartbeat": "HeartbeatResponse"}
    assert expected.items() <= methods.items() or methods == {"GetStatus": "GetStatusResponse"}


@pytest.mark.parametrize("service", [*SERVICES, "grpc.health.v1.Health", "unknown.Service"])
def test_an_unknown_method_is_unimplemented(start, service):
    with pytest.raises(grpc.RpcError) as error:
        start().channel().unary_unary(f"/{service}/Unknown")(b"", timeout=TIMEOUT)
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_the_status_describes_the_worker(start):
    sidecar = start(("sh", "-c", "echo $$; exec cat >&2"))
    wait_until("the worker's pid", (sidecar.folder / "stdout").read_text)
    worker = sidecar.status().worker
    assert worker.running
    assert worker.pid == int((sidecar.folder / "stdout").read_text())
    assert sidecar.status().version.count(".") == 2


def test_the_status_counts_lines_events_and_bytes(start):
    sidecar = start()
    text = b"plain\n"
    good = b'TELEMETRY:{"event": "a"}\n'
    bad = b'TELEMETRY:{\nTELEMETRY:[]\nTELEMETRY:{}\nTELEMETRY:{"event": "a", "metadata": 1}\n'
    in_mid_line = b'50% TELEMETRY:{"event": "b"}\n'
    everything = text + good + bad + in_mid_line
    sidecar.write(everything + b"TELEM")
    read = len(everything) + 5
    wait_until("all to be read", lambda: sidecar.status().stream.bytes_read == read)
    stream = sidecar.status().stream
    assert (stream.bytes_removed, stream.bytes_held) == (len(good), 5)
    assert stream.bytes_passed == read - len(good) - 5
    assert (stream.telemetry_lines, stream.decoded, stream.embedded, stream.events) == (5, 1, 1, 2)
    malformed = stream.malformed
    assert (malformed.json, malformed.not_object, malformed.event, malformed.shape) == (1, 1, 1, 1)


def test_the_counters_balance_under_concurrent_activity(start):
    # A subscriber who does not read and loses events, one who filters, and visitors. The worker ends when the test ends:
    # once it has ended and all that is queued was sent, nobody serves the status.
    steady = fixture("steady.py", "--count", 20_000, "--rate", 10_000, "--size", 500)
    sidecar = start(("sh", "-c", 'read -r go && "$@" && exec cat', "then", *steady), queue_capacity="50")
    # Otherwise gRPC may enlarge its window until all events fit.
    idle = sidecar.subscribe(sidecar.channel(options=[("grpc.http2.bdp_probe", 0)]), reads=False)
    picky = sidecar.subscribe()
    sidecar.control(picky, filtering(deny=["*.stop"]))
    sidecar.go()
    visitors = 0
    while visitors == 0 or sidecar.status().stream.events < 15_000:  # each one is checked
        sidecar.subscribe().leave()
        visitors += 1
    sidecar.wait_for_events(20_000)
    wait_until("the visitors to have left", lambda: sidecar.status().departed_count == visitors)
    account = sidecar.account(idle)
    assert account.offered == 20_000 and account.dropped > 0
    assert sidecar.account(picky).filtered == 20_000
    assert sidecar.status().backlog.taken_in == 0


def test_the_status_sums_up_disconnected_subscribers(start):
    sidecar = start()
    for visit in range(1, 4):
        subscriber = sidecar.subscribe()
        for number in range(10):
            sidecar.emit("tool.execution.stop", number)
        assert counts(subscriber.take(10)) == list(range(10))
        subscriber.leave()
        wait_until("it to have left", lambda: sidecar.status().departed_count == visit)
    departed = sidecar.status().departed
    assert (departed.id, departed.name, departed.offered, departed.delivered) == (0, "", 30, 30)


def test_a_subscriber_is_named_by_its_address(start):
    sidecar = start()
    subscriber = sidecar.subscribe()
    assert sidecar.account(subscriber).name.startswith("127.0.0.1:")
    assert isinstance(sidecar.status(), status.GetStatusResponse)
