"""Binance's stand-in as a process, an account's configuration for it, and what a broker reports."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from risk.approval import SEAL, ApprovedOrder
from risk.brokers.binance.broker import BinanceBroker
from risk.brokers.binance.config import BinanceConfig, Market
from risk.brokers.binance.wire import Scales
from risk.orders import Report, ReportKind, Request, Side, TimeInForce, Wanted
from tests.harness.processes import REPOSITORY, stop, with_its_parent
from tickd.clock import SystemClock

# The example keys of Binance's own documentation.
API_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
SCALES = {"BTCUSDT": Scales(2, 5), "ETHUSDT": Scales(2, 4)}
POLL_S = 0.005
QUICK: dict[str, Any] = {
    "answer_timeout_s": 0.4,
    "query_timeout_s": 2.0,
    "backoff_first_s": 0.01,
    "backoff_cap_s": 0.05,
    "cancel_all_timeout_s": 10.0,
}


def key_files(folder: Path, secret: str = SECRET, api_key: str = API_KEY) -> tuple[str, str]:
    paths = folder / "api.key", folder / "secret.key"
    for path, text in zip(paths, (api_key, secret), strict=True):
        path.write_text(text + "\n")
        path.chmod(0o600)
    return str(paths[0]), str(paths[1])


@dataclass
class Stand:
    """A running stand-in."""

    market: Market
    ws_api_url: str
    rest_url: str
    stream_url: str
    api_key_file: str
    secret_file: str

    def config(self, **settings: Any) -> BinanceConfig:
        given: dict[str, Any] = {
            "name": "a",
            "market": self.market,
            "symbols": ("BTCUSDT", "ETHUSDT"),
            "api_key_file": self.api_key_file,
            "secret_key_file": self.secret_file,
            "ws_api_url": self.ws_api_url,
            "rest_url": self.rest_url,
            "stream_url": self.stream_url or None,
            **QUICK,
        }
        return BinanceConfig(**{**given, **settings})

    def order(self, what: str, **asked: Any) -> None:
        """A control of the stand-in: `fault`, `fill`, `end`, `place`, `say`, `cut`, `set`."""
        request = urllib.request.Request(
            f"{self.rest_url}/_stand/{what}", data=json.dumps(asked).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            reply.read()

    def log(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.rest_url}/_stand/log", timeout=10) as reply:
            return dict(json.load(reply))

    def requests(self, method: str) -> list[dict[str, Any]]:
        return [each for each in self.log()["requests"] if each["method"] == method]


@contextmanager
def standing(
    market: Market, folder: Path, *arguments: str, secret: str = SECRET, public: str | None = None
) -> Iterator[Stand]:
    """The stand-in as a process of its own."""
    api_key_file, secret_file = key_files(folder, secret)
    known = secret_file
    if public is not None:
        known = str(folder / "public.pem")
        Path(known).write_text(public)
        Path(known).chmod(0o600)
    command = [sys.executable, "-m", "risk.stands.binance", "--market", market]
    command += ["--api-key-file", api_key_file, "--secret-file", known, *arguments]
    log = folder / "stand.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=REPOSITORY,
            preexec_fn=with_its_parent,  # noqa: PLW1509 - the tests have one thread
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, f"the stand-in printed nothing: {log.read_text()[-2000:]}"
            said = json.loads(line)
            said.pop("pid")
            yield Stand(market, **said, api_key_file=api_key_file, secret_file=secret_file)
        finally:
            stop(process)
            process.stdout.close()
    assert b"Traceback" not in log.read_bytes(), log.read_text()[-4000:]


@dataclass
class Trading:
    """A broker that runs, and everything that it reported."""

    broker: BinanceBroker
    stand: Stand
    reports: list[Report] = field(default_factory=list)

    def place(
        self,
        ref: str,
        *,
        price: int | None = 10_000_00,
        size: int = 100_000,
        side: Side = "B",
        time_in_force: TimeInForce = "gtc",
        symbol: str = "BTCUSDT",
        reduce_only: bool = False,
    ) -> None:
        asked = request(
            price=price,
            size=size,
            side=side,
            time_in_force=time_in_force,
            symbol=symbol,
            reduce_only=reduce_only,
        )
        self.broker.send(approved(asked), ref)

    def of(self, ref: str) -> list[Report]:
        return [each for each in self.reports if each.ref == ref]

    def kinds(self, ref: str) -> list[str]:
        return [each.kind.name for each in self.of(ref)]

    def count(self, kind: ReportKind) -> int:
        return sum(each.kind is kind for each in self.reports)

    async def until(self, condition: Callable[[], bool], *, timeout_s: float = 10) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, [str(each) for each in self.reports]
            await asyncio.sleep(POLL_S)

    async def until_kinds(self, ref: str, *kinds: str) -> None:
        """Until at least these were reported of `ref`, in any order."""
        await self.until(
            lambda: all(self.kinds(ref).count(kind) >= kinds.count(kind) for kind in kinds)
        )

    async def control(self, what: str, **asked: Any) -> None:
        await asyncio.to_thread(self.stand.order, what, **asked)


@asynccontextmanager
async def trading(stand: Stand, **settings: Any) -> AsyncIterator[Trading]:
    """A broker whose line is up."""
    reports: list[Report] = []
    broker = BinanceBroker(
        stand.config(**settings),
        clock=SystemClock(),
        on_report=reports.append,
        scales_of=SCALES.get,
    )
    trader = Trading(broker, stand, reports)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(broker.run(), name="broker")
        try:
            await trader.until(lambda: broker.is_up or running.done())
            if not running.done():
                yield trader
        finally:
            running.cancel()


def request(
    *,
    price: int | None = 10_000_00,
    size: int = 100_000,
    side: Side = "B",
    time_in_force: TimeInForce = "gtc",
    symbol: str = "BTCUSDT",
    reduce_only: bool = False,
) -> Request:
    return Request(
        client_id=1,
        strategy="s",
        account="a",
        instrument=1,
        venue="v",
        symbol=symbol,
        side=side,
        price=price,
        size=size,
        time_in_force=time_in_force,
        reduce_only=reduce_only,
    )


def approved(asked: Request, number: int = 1) -> ApprovedOrder:
    """What the gate would give; here nothing is gated."""
    return ApprovedOrder(asked, number, 1, seal=SEAL)


def wanted(
    ref: str,
    venue_id: str = "",
    *,
    price: int | None = 10_000_00,
    size: int = 100_000,
    symbol: str = "BTCUSDT",
    side: Side = "B",
) -> Wanted:
    return Wanted(
        number=1,
        ref=ref,
        venue_id=venue_id,
        instrument=1,
        symbol=symbol,
        side=side,
        price=price,
        size=size,
    )
