"""`python -m risk.stands.binance`: the stand-in as a process.

Prints one JSON line when it stands: where it listens. It does nothing but start and stop it.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

import msgspec

from risk.stands.binance.server import Addresses, Settings, serve
from tickd.clock import SystemClock


def _settings() -> Settings:
    parser = argparse.ArgumentParser(prog="python -m risk.stands.binance", description=__doc__)
    parser.add_argument("--market", choices=("spot", "usdm"), required=True)
    parser.add_argument("--api-key-file", required=True)
    parser.add_argument("--secret-file", required=True, help="HMAC secret, or Ed25519 public key")
    parser.add_argument("--symbols", default="BTCUSDT,ETHUSDT")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chaos", type=float, default=0.0, help="share of requests with a fault")
    given = vars(parser.parse_args())
    given["symbols"] = tuple(given["symbols"].split(","))
    return Settings(**given)


def _announce(addresses: Addresses) -> None:
    sys.stdout.write(msgspec.json.encode(addresses).decode() + "\n")
    sys.stdout.flush()


async def _main(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, SystemClock(), stop, _announce)


asyncio.run(_main(_settings()))
