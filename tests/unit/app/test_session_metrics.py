"""What /metrics and the status page say of connections: of sockets and of logins the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from gateway.callbacks.session import CallbackSession
from gateway.callbacks.venue import Usage
from gateway.config import SdkConfig, SubscriptionConfig, VenueConfig
from gateway.subscriptions.usage import UsageReading
from recorder.config import ClickHouseConfig
from tickd.app.config import Config, NodeConfig
from tickd.app.daemon import Daemon
from tickd.app.screen import plan_trouble, render
from tickd.app.wiring import wire
from tickd.secrets import Secret

USDM, SHIOAJI = "binance-usdm", "shioaji"
LIMIT = 500 << 20
KEY = Secret("0123456789ab")


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    """A daemon with both kinds of venues, whose tasks do not run."""
    sdk = SdkConfig(api_key=KEY, secret_key=KEY)
    config = Config(
        node=NodeConfig(state_dir=str(tmp_path)),
        clickhouse=ClickHouseConfig(url="http://127.0.0.1:1"),
        venues=(
            VenueConfig(name=USDM, symbols=("BTCUSDT",), channels=("trade",)),
            VenueConfig(name=SHIOAJI, symbols=("2330",), channels=("trade",), sdk=sdk),
        ),
        subscriptions=(
            SubscriptionConfig(name="low", patterns=(f"{SHIOAJI}:2317@trade",), priority=10),
        ),
    )
    daemon = Daemon(wire(config))
    for session in daemon.parts.sessions:
        session.carried.listed(None, "start")
    yield daemon
    daemon.parts.tap.finish()
    daemon.parts.tap.detach()
    daemon.parts.raw_log.close()


def read_usage(daemon: Daemon, used: int) -> None:
    session, clock = daemon.parts.sessions[1], daemon.parts.clock
    assert isinstance(session, CallbackSession)
    session.usage = Usage(1, used, LIMIT, LIMIT - used)
    session.allowance.observe(
        UsageReading(used, LIMIT), wall_ns=clock.wall_ns(), mono_ns=clock.mono_ns()
    )


def scrape(daemon: Daemon) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(daemon.http._text().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def page(daemon: Daemon) -> str:
    out = StringIO()
    status = daemon.picture.draw(topics=False)
    Console(file=out, width=200).print(render(status, rates=None))
    return out.getvalue()


async def test_a_limit_that_a_venue_has_not_is_not_said_to_be_used_up(daemon: Daemon) -> None:
    kinds: dict[str, set[str]] = {USDM: set(), SHIOAJI: set()}
    for name, pairs in scrape(daemon):
        if name == "tickd_gateway_limit_remaining":
            labels = dict(pairs)
            kinds[labels["venue"]].add(labels["kind"])
    assert kinds[USDM] == {"connects", "rest_weight"}
    assert kinds[SHIOAJI] == {"connects"}


async def test_an_allowance_is_told_in_numbers_and_in_words(daemon: Daemon) -> None:
    assert "not known yet" in page(daemon)
    read_usage(daemon, 100 << 20)
    values = scrape(daemon)
    venue = frozenset({("venue", SHIOAJI)})
    assert values["tickd_gateway_usage_cap_bytes", venue] == int(LIMIT * 0.95)
    assert values["tickd_gateway_usage_remaining_bytes", venue] <= int(LIMIT * 0.95) - (100 << 20)
    assert values["tickd_gateway_usage_queries_left", venue] == 1
    assert values["tickd_gateway_limit_remaining", venue | {("kind", "connects")}] == 100
    assert "100 MiB of 475 MiB" in page(daemon)
    assert "1 queries left for now" in page(daemon)


async def test_pauses_for_an_allowance_are_said_with_their_reason(daemon: Daemon) -> None:
    def trouble() -> list[str]:
        return plan_trouble(daemon.picture.draw(topics=False))

    read_usage(daemon, 0)
    assert trouble() == []
    read_usage(daemon, LIMIT // 10)
    daemon.parts.planning.look(late_ns=0)
    (words,) = trouble()
    assert words.startswith("shioaji: 1 streams of priority below 100 are paused, ")
    assert words.endswith("of its traffic is forecast")
    read_usage(daemon, LIMIT)
    daemon.parts.planning.look(late_ns=0)
    assert trouble() == ["shioaji: everything is paused until its traffic begins anew"]
