"""Health and reflection: the worker's if it has them, else the sidecar's own. Telemetry and the status are
always the sidecar's."""

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from subscriber import names
from upstream import SERVICE, Upstream
from waiting import TIMEOUT, wait_until

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING


def check(channel, service=""):
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT)


@pytest.fixture
def worker_with_services():
    servicer = health.HealthServicer()

    def register(server):
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        reflection.enable_server_reflection([health.SERVICE_NAME, reflection.SERVICE_NAME], server)

    upstream = Upstream(register=register)
    upstream.health = servicer
    return upstream


def test_health_is_the_workers(relay, worker_with_services):
    sidecar, upstream = relay(worker_with_services)
    upstream.health.set("", SERVING)
    upstream.health.set(SERVICE, NOT_SERVING)
    channel = sidecar.channel()
    assert check(channel).status == SERVING
    assert check(channel, SERVICE).status == NOT_SERVING
    with pytest.raises(grpc.RpcError) as failure:
        check(channel, "unknown.Service")
    assert failure.value.code() == grpc.StatusCode.NOT_FOUND

    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
    assert next(watch).status == NOT_SERVING
    for status in (SERVING, NOT_SERVING):
        upstream.health.set(SERVICE, status)
        assert next(watch).status == status
    watch.cancel()


def test_reflection_is_the_workers(relay, worker_with_services):
    channel = relay(worker_with_services)[0].channel()
    database = ProtoReflectionDescriptorDatabase(channel)
    assert health.SERVICE_NAME in database.get_services()
    described = DescriptorPool(database).FindServiceByName(health.SERVICE_NAME)
    assert {"Check", "Watch"} <= {method.name for method in described.methods}


def test_health_is_the_sidecars_if_the_worker_has_none(relay):
    channel = relay()[0].channel()
    assert check(channel).status == SERVING
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == SERVING
    watch.cancel()


def test_reflection_is_the_sidecars_if_the_worker_has_none(relay):
    database = ProtoReflectionDescriptorDatabase(relay()[0].channel())
    assert "telemetry_sidecar.v1.Sidecar" in database.get_services()
    described = DescriptorPool(database).FindServiceByName("snakepit.bridge.BridgeService")
    assert "StreamTelemetry" in {method.name for method in described.methods}


def test_telemetry_and_status_are_the_sidecars(relay):
    sidecar, _ = relay()
    subscriber = sidecar.subscribe()
    sidecar.emit("python.call.start")
    assert names([subscriber.next()]) == ["python.call.start"]
    wait_until("the event to be counted", lambda: sidecar.status().stream.events == 1)
