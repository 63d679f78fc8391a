"""The manifests of deploy/kubernetes: Kubernetes' schemas, and their container, started and probed as by a kubelet."""

import re
import subprocess

import grpc
import kubernetes_validate
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy import environment, text
from servers import Server, fetch, free_ports
from sidecar import BINARY
from stubs import status, status_grpc
from waiting import TIMEOUT, wait_until

TOKEN = "the-token-of-the-secret"


def uncommented(manifest):
    """With the lines that a person may decide to uncomment: `#key: …` and `#- name: …`, but no prose."""
    return re.sub(r"^( +)#(?=- |  |[\w.]+:)", r"\1", manifest, flags=re.MULTILINE)


@pytest.mark.parametrize("edit", [str, uncommented])
def test_the_manifests_are_valid(edit):
    manifest = text("kubernetes/worker.yaml", {})
    assert edit is str or edit(manifest) != manifest
    kinds = []
    for resource in yaml.safe_load_all(edit(manifest)):
        kubernetes_validate.validate(resource, "1.37", strict=True)
        kinds.append(resource["kind"])
    assert kinds == ["Deployment", "NetworkPolicy"]


def test_the_monitor_and_the_policy_select_the_pods_and_their_ports():
    deployment, policy = yaml.safe_load_all(text("kubernetes/worker.yaml", {}))
    monitor = yaml.safe_load(text("kubernetes/podmonitor.yaml", {}))["spec"]
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"] == labels
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
    [container] = template["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    assert {endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]} <= ports
    assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} == ports


# What the kubelet puts into variables.
FIELDS = {
    "metadata.name": "worker-5d9f",
    "metadata.namespace": "default",
    "spec.nodeName": "node-1",
    "status.hostIP": "127.0.0.1",
}


class Container(Server):
    """The container `worker` of a pod, in this machine's root, with a worker that hangs from the start.

    Everything that is commented out is in force. There is no Collector.
    """

    def command(self):
        self.grpc_port, self.metrics_port, collector_port = free_ports(3)
        (self.folder / "token").write_text(TOKEN + "\n")
        replacements = {
            "/sidecar": self.folder,
            "/telemetry/token": self.folder / "token",
            "4400": self.grpc_port,
            "9464": self.metrics_port,
            "4317": collector_port,
            "/recordings": self.folder,
            "[python, worker.py]": "[sleep, '1000']",
        }
        deployment = next(yaml.safe_load_all(uncommented(text("kubernetes/worker.yaml", replacements))))
        pod = deployment["spec"]["template"]["spec"]
        [init], [container] = pod["initContainers"], pod["containers"]
        # The image has the binary as its ENTRYPOINT.
        subprocess.run([BINARY, *init["args"]], check=True, timeout=TIMEOUT)
        self.probes = [container[kind]["grpc"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")]
        variables = {}
        for variable in container["env"]:
            if "valueFrom" in variable:
                value = FIELDS[variable["valueFrom"]["fieldRef"]["fieldPath"]]
            else:
                value = re.sub(r"\$\((\w+)\)", lambda name: variables[name[1]], variable["value"])
            variables[variable["name"]] = value
        words = [f"{name}={value}" for name, value in variables.items()]
        return ["env", *words, *container["command"], *container["args"]]

    def is_ready(self):
        return fetch(f"http://127.0.0.1:{self.metrics_port}/healthz")

    def channel(self):
        return grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}")


@pytest.fixture
def container(tmp_path):
    with Container(tmp_path) as server:
        yield server


def test_probes_need_no_token_and_all_else_does(container):
    with container.channel() as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for probe in container.probes:
            assert probe["port"] == container.grpc_port
            request = health_pb2.HealthCheckRequest(service=probe.get("service", ""))
            answer = health.Check(request, timeout=TIMEOUT, wait_for_ready=True)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING

        sidecar = status_grpc.SidecarStub(channel)
        with pytest.raises(grpc.RpcError) as refusal:
            sidecar.GetStatus(status.GetStatusRequest(), timeout=TIMEOUT)
        assert refusal.value.code() == grpc.StatusCode.UNAUTHENTICATED
        authorization = [("authorization", f"Bearer {TOKEN}")]
        answer = sidecar.GetStatus(status.GetStatusRequest(), timeout=TIMEOUT, metadata=authorization)
        assert answer.worker.running


def test_a_recording_is_named_after_the_pod(container):
    assert (container.folder / "worker-5d9f.log").exists()


def test_the_page_is_served_at_the_address_of_the_pod(container):
    # What a PodMonitor and the annotations make of a pod's address.
    page, host = f"http://127.0.0.1:{container.metrics_port}/metrics", {"Host": "10.1.2.3:9464"}
    assert fetch(page, host)[0] == 200
    wait_until("the worker", lambda: "\ntelemetry_sidecar_worker_up 1\n" in fetch(page, host)[2])


def test_a_pod_that_is_deleted_ends_in_time(container):
    container.process.terminate()  # to process 1 only, as container runtimes do
    assert container.process.wait(TIMEOUT) != 0
    wait_until("the page to end", lambda: fetch(f"http://127.0.0.1:{container.metrics_port}/healthz") is None)
