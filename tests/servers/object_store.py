"""An S3 server on loopback for proofs: prints `{"port": …}`, ends when its stdin closes."""

from __future__ import annotations

import json
import logging
import sys

from moto.server import ThreadedMotoServer


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    sys.stdout.write(json.dumps({"port": server.get_host_and_port()[1]}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
