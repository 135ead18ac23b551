"""Past ticks of Shioaji as the frame that the native core reads."""

from __future__ import annotations

import orjson
import pytest

from gateway.callbacks.venue import Contract
from gateway.errors import MalformedReplyError
from gateway.venues.shioaji.past import HISTORY
from tickd.testing.shioaji_market import PastTicks

CONTRACT = Contract("2330", "2330", "stock", "TSE", (), None)
TICKS = PastTicks((1, 2, 2), (100.1, 100.0, 99.95), (3, 0, 5), (1, 0, 2))


def test_columns_become_a_reply_with_exact_decimals() -> None:
    rows, payload = HISTORY.record(TICKS, CONTRACT, "2026-07-14")
    line, _, body = payload.partition(b"\n")
    assert rows == 3
    assert line == b"GET /ticks?code=2330&date=2026-07-14&query=AllDay 200"
    assert orjson.loads(body) == {
        "v": 1,
        "class": "Ticks",
        "code": "2330",
        "stock": True,
        "ts": [1, 2, 2],
        "close": ["100.1", "100.0", "99.95"],
        "volume": [3, 0, 5],
        "tick_type": [1, 0, 2],
    }


@pytest.mark.parametrize(
    "ticks",
    [
        TICKS._replace(volume=(1, 2)),
        TICKS._replace(ts=(2, 1, 3)),
        TICKS._replace(close=("x", 1, 2)),
        TICKS._replace(volume=(None, 1, 2)),
        None,
    ],
    ids=["lengths", "times", "price", "volume", "nothing"],
)
def test_what_is_no_answer_is_refused(ticks: object) -> None:
    with pytest.raises(MalformedReplyError):
        HISTORY.record(ticks, CONTRACT, "2026-07-14")


def test_a_market_in_session_counts_as_trading() -> None:
    ten_in_taiwan = (20_648 * 86_400 + 2 * 3600) * 1_000_000_000
    assert HISTORY.trades_now(ten_in_taiwan)
    assert not HISTORY.trades_now(ten_in_taiwan + (4 * 3600 + 1800) * 1_000_000_000)  # 14:30
