"""An OTLP collector's two doors, http and gRPC, as a process: decodes every request for real.

`python otlp_receiver.py FILE` prints the ports as JSON, then appends one JSON line per span to
FILE. POST /refuse?seconds=… on the http port lets both answer "unavailable" so long.
"""

from __future__ import annotations

import gzip
import json
import sys
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


def value_of(value: AnyValue) -> Any:
    return getattr(value, str(value.WhichOneof("value")))


def pairs(attributes: list[KeyValue]) -> dict[str, Any]:
    return {each.key: value_of(each.value) for each in attributes}


class Kept:
    """What came, in a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self.refuse_until = 0.0

    @property
    def refuses(self) -> bool:
        return time.monotonic() < self.refuse_until

    def keep(self, door: str, headers: dict[str, str], request: Any) -> None:
        with self._lock:
            for resource in request.resource_spans:
                about = pairs(resource.resource.attributes)
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        line = {"door": door, "headers": headers, "resource": about}
                        line |= {"scope": scope.scope.name, **drawn(span)}
                        self._file.write(json.dumps(line) + "\n")
            self._file.flush()


def drawn(span: Span) -> dict[str, Any]:
    return {
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_id": span.parent_span_id.hex(),
        "name": span.name,
        "kind": Span.SpanKind.Name(span.kind),
        "began_ns": span.start_time_unix_nano,
        "ended_ns": span.end_time_unix_nano,
        "attributes": pairs(span.attributes),
        "links": [[each.trace_id.hex(), each.span_id.hex()] for each in span.links],
    }


class Grpc(service_grpc.TraceServiceServicer):
    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        if self._kept.refuses:
            context.abort(grpc.StatusCode.UNAVAILABLE, "told to")
        self._kept.keep("grpc", dict(context.invocation_metadata()), request)
        return service.ExportTraceServiceResponse()


def handler_of(kept: Kept) -> type[BaseHTTPRequestHandler]:
    class Http(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if self.path.startswith("/refuse"):
                kept.refuse_until = time.monotonic() + float(self.path.partition("=")[2])
                self._answer(200)
                return
            if kept.refuses or self.path != "/v1/traces":
                self._answer(503 if kept.refuses else 404)
                return
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            request = service.ExportTraceServiceRequest()
            request.ParseFromString(body)
            headers = {name.lower(): value for name, value in self.headers.items()}
            kept.keep("http", headers, request)
            self._answer(200)

        def _answer(self, code: int) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Http


def main() -> None:
    kept = Kept(Path(sys.argv[1]))
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(kept))
    doors = grpc.server(futures.ThreadPoolExecutor(2))
    service_grpc.add_TraceServiceServicer_to_server(Grpc(kept), doors)
    port = doors.add_insecure_port("127.0.0.1:0")
    doors.start()
    print(json.dumps({"http": http.server_port, "grpc": port}), flush=True)  # noqa: T201
    http.serve_forever()


if __name__ == "__main__":
    main()
