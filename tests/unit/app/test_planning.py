"""Orders, reloads and load against the sessions of a daemon whose tasks do not run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from gateway.config import PlanConfig, SubscriptionConfig, VenueConfig
from gateway.errors import PatternError, PlanRefusedError
from gateway.subscriptions.wishes import Listing
from recorder.config import ClickHouseConfig
from tickd.app.config import Config, NodeConfig
from tickd.app.planning import ORDERS_MAX, Planning
from tickd.app.wiring import wire
from tickd.bus_queue import Limits, WhenFull
from tickd.errors import ConfigError, TickdError
from tickd.testing.batches import make_batch

USDM, OKX = "binance-usdm", "okx"


def config(directory: Path, **fields: object) -> Config:
    return msgspec.structs.replace(
        Config(
            node=NodeConfig(state_dir=str(directory)),
            clickhouse=ClickHouseConfig(url="http://127.0.0.1:1"),
            venues=(
                VenueConfig(name=USDM, symbols=("BTCUSDT",), channels=("trade",)),
                VenueConfig(name=OKX, symbols=("BTC-USDT",), channels=("trade",), priority=50),
            ),
            subscriptions=(
                SubscriptionConfig(name="low", patterns=(f"{USDM}:*USDT@quote",), priority=10),
            ),
        ),
        **fields,
    )
