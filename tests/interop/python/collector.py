"""An OpenTelemetry collector that is not ours: ddapm-test-agent, made of Python, grpcio and aiohttp."""

import base64
import json

from servers import Server, fetch, free_ports, program


class Collector(Server):
    """It keeps what it gets and shows it as plain values.

    Its HTTP side takes no more than 1 MiB, and its gRPC side passes on to that: a larger message is then a partial
    success with all spans rejected.
    """

    def command(self):
        traces, self.http_port, self.grpc_port = free_ports(3)
        return [
            program("DDAPM_TEST_AGENT", "ddapm-test-agent"), "--host", "127.0.0.1", "--port", traces,
            "--otlp-http-port", self.http_port, "--otlp-grpc-port", self.grpc_port,
            "--disable-llmobs-data-forwarding", "--log-level", "WARNING",
        ]

    def is_ready(self):
        # The gRPC server is started before the HTTP one.
        answer = fetch(self._url("start"))
        return answer and answer[0] == 200

    def endpoint(self, protocol):
        port = self.grpc_port if protocol == "grpc" else self.http_port
        return f"http://127.0.0.1:{port}"

    def _url(self, what):
        return f"http://127.0.0.1:{self.http_port}/test/session/{what}"

    def _get(self, what):
        status, _, body = fetch(self._url(what))
        assert status == 200, body
        return json.loads(body)

    def clear(self):
        """Forgets all requests."""
        fetch(self._url("clear"))

    def requests(self):
        """The headers of each request, names in lower case. Of gRPC's nothing is left here."""
        return [{name.lower(): value for name, value in one["headers"].items()} for one in self._get("requests")]

    def spans(self):
        """Of each span: ids in hexadecimal ("" for no parent), name, kind, start, end, status, message, attributes, events
        and the resource's attributes. The oldest request comes first."""
        return [
            _span(span, _attributes(resource["resource"]))
            for request in reversed(self._get("traces"))
            for resource in request["resource_spans"]
            for scope in resource["scope_spans"]
            for span in scope["spans"]
        ]

    def logs(self):
        """Of each log record: time (0 for none), observed, severity, text, body, ids in hexadecimal ("" for none), flags,
        attributes and the resource's attributes. The oldest request comes first."""
        return [
            _record(record, _attributes(resource["resource"]))
            for request in reversed(self._get("logs"))
            for resource in request["resource_logs"]
            for scope in resource["scope_logs"]
            for record in scope["log_records"]
        ]

    def metrics(self):
        """The points of each metric, the latest request's, as the protocol's JSON has them but for attributes."""
        found = {}
        for request in reversed(self._get("metrics")):
            for resource in request["resource_metrics"]:
                for scope in resource["scope_metrics"]:
                    for metric in scope["metrics"]:
                        [kind] = {"gauge", "sum", "histogram", "exponential_histogram"} & metric.keys()
                        points = metric[kind]["data_points"]
                        metric["points"] = [point | {"attributes": _attributes(point)} for point in points]
                        found[metric["name"]] = metric
        return found


def identifier(text):
    """An id as hexadecimal."""
    return base64.b64decode(text).hex()


def _span(span, resource):
    status = span.get("status", {})
    return {
        "trace_id": identifier(span["trace_id"]),
        "span_id": identifier(span["span_id"]),
        "parent": identifier(span.get("parent_span_id", "")),
        "name": span["name"],
        "kind": span["kind"].removeprefix("SPAN_KIND_"),
        "start": int(span["start_time_unix_nano"]),
        "end": int(span["end_time_unix_nano"]),
        "status": status.get("code", "STATUS_CODE_UNSET").removeprefix("STATUS_CODE_"),
        "message": status.get("message", ""),
        "attributes": _attributes(span),
        "events": [
            {"name": event["name"], "time": int(event["time_unix_nano"]), "attributes": _attributes(event)}
            for event in span.get("events", [])
        ],
        "resource": resource,
    }


def _record(record, resource):
    return {
        "time": int(record.get("time_unix_nano", 0)),
        "observed": int(record["observed_time_unix_nano"]),
        "severity": record.get("severity_number", "SEVERITY_NUMBER_UNSPECIFIED").removeprefix("SEVERITY_NUMBER_"),
        "text": record.get("severity_text", ""),
        "body": _value(record["body"]),
        "trace_id": identifier(record.get("trace_id", "")),
        "span_id": identifier(record.get("span_id", "")),
        "flags": record.get("flags", 0),
        "attributes": _attributes(record),
        "resource": resource,
    }


def _attributes(owner):
    pairs = [(pair["key"], _value(pair["value"])) for pair in owner.get("attributes", [])]
    assert len(pairs) == len(dict(pairs)), f"an attribute twice: {pairs}"
    return dict(pairs)


def _value(value):
    [(kind, value)] = value.items()
    # In the protocol's JSON 64-bit integers are strings.
    return int(value) if kind == "int_value" else value
