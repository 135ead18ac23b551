"""An S3 server on loopback for proofs: prints `{"port": …}`, ends when its stdin closes.

moto answers every request on a thread of its own and looks for an object before it stores one, so
that of two conditional writes both may win. S3 lets one win; here each request is answered by
itself, once all of its body has come.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server


class OneAtATime:
    """A WSGI application whose answers are made one after the other."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._turn = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = _body(environ)
        if body is None:  # cut off on its way
            start_response("400 Bad Request", [("Content-Length", "0")])
            return []
        environ["wsgi.input"] = io.BytesIO(body)
        with self._turn:
            return list(self._application(environ, start_response))


def _body(environ: dict[str, Any]) -> bytes | None:
    """All of a request's body, None when the client went away before its end."""
    if environ.get("wsgi.input_terminated"):
        whole: bytes = environ["wsgi.input"].read()
        environ["CONTENT_LENGTH"] = str(len(whole))
        return whole
    size = int(environ.get("CONTENT_LENGTH") or 0)
    found: bytes = environ["wsgi.input"].read(size) if size else b""
    return found if len(found) == size else None


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = OneAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server(
        "127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    sys.stdout.write(json.dumps({"port": server.server_port}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    main()
