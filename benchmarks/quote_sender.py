"""A child for bench_latency.py: one WebSocket client, one bookTicker at a time, stamped in its id.

Imports the standard library only, so that it starts at once and shares nothing with what is
measured. Arguments: how many quotes, seconds between them. Prints its port.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import sys
import time

QUOTE = (
    b'{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":%d,"s":"BTCUSDT",'
    b'"b":"61800.20","B":"2.507","a":"61800.30","A":"2.510","T":1723161256313,"E":1723161256313}}'
)
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def upgrade(client: socket.socket) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        request += client.recv(4096)
    key = next(
        line.partition(b": ")[2]
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key")
    )
    accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
    client.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def main(count: int, pause_s: float) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        client, _ = server.accept()
        with client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            upgrade(client)
            head = b"\x81\x7e" + struct.pack(">H", len(QUOTE % time.monotonic_ns()))
            for _ in range(count):
                time.sleep(pause_s)
                client.sendall(head + QUOTE % time.monotonic_ns())
            client.recv(1)  # until the client leaves


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
