"""Which rows a pattern means, and what is said when it means none."""

import numpy as np
import pytest

from backtest.export.errors import ExportError, RefusedRowsError
from backtest.export.selection import Selected
from tickd.errors import TickdError
from tickd.events import Flag
from tickd.native import EVENT_TABLES
from tickd.rows import Definition, TableRows
from tickd.topics import CHANNEL_TABLES, CHANNELS

KNOWN = {
    1: Definition(1, "binance-usdm", "BTCUSDT", 1, 3),
    2: Definition(2, "binance-usdm", "ETHUSDT", 2, 3),
    3: Definition(3, "okx", "BTC-USDT", 1, 8),
}


def rows(table, instruments, **columns):
    given = {name: np.array(values) for name, values in columns.items()}
    seqs = np.arange(len(instruments), dtype=np.uint64)
    return TableRows(table, {"seq": seqs, "instrument": np.array(instruments, np.uint32)} | given)


def chosen(patterns, table_rows):
    return Selected(patterns, KNOWN).take(table_rows).integers("seq").tolist()


def test_every_channel_of_recorded_rows_has_a_table():
    derived = ("clock", "order", "signal")
    assert tuple(CHANNEL_TABLES) == tuple(each for each in CHANNELS if each not in derived)
    assert set(CHANNEL_TABLES.values()) == set(EVENT_TABLES)


def test_a_channel_without_rows_selects_nothing():
    with pytest.raises(ExportError, match="no instrument matches 'clock") as caught:
        Selected(["clock.*.*"], KNOWN)
    assert "there is" in (caught.value.hint or "")
    assert "clock." not in (caught.value.hint or "")


def test_merged_trades_are_a_channel_of_their_own():
    trades = rows("trades", [1, 1, 2, 3], flags=[0, int(Flag.AGGREGATE), 0, 0])
    assert chosen(["trade.*.*"], trades) == [0, 2, 3]
    assert chosen(["aggtrade.*.*"], trades) == [1]
    assert chosen(["trade.binance-usdm.*", "aggtrade.*.BTCUSDT"], trades) == [0, 1, 2]


def test_fetched_trades_are_a_channel_of_their_own():
    fetched = int(Flag.BACKFILLED)
    trades = rows("trades", [1, 1, 1], flags=[0, fetched, fetched | int(Flag.AGGREGATE)])
    assert chosen(["trade.*.*", "aggtrade.*.*"], trades) == [0]
    assert chosen(["backfill.*.*"], trades) == [1, 2]
    assert chosen(["*.binance-usdm.BTCUSDT"], trades) == [0, 1, 2]


def test_marks_and_states_are_told_apart_by_kind():
    marks = rows("marks", [1, 1, 1, 1], kind=[1, 2, 3, 4])
    assert chosen(["funding.*.*", "index.*.*"], marks) == [1, 2]
    states = rows("states", [1, 1], kind=[1, 2])
    assert chosen(["status.*.*"], states) == [1]


def test_only_tables_of_chosen_channels_are_read():
    selected = Selected(["depth.*.*", "mark.okx.*"], KNOWN)
    assert selected.tables == ("book", "marks")
    assert [each.symbol for each in selected.instruments_of("marks")] == ["BTC-USDT"]


def test_gaps_of_the_node_have_a_topic_too():
    assert chosen(["gap.tickd.frames"], rows("gaps", [0, 1])) == [0]
    assert chosen(["*"], rows("gaps", [0, 1])) == [0, 1]


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("trade.binance-usdm.BTCUSD", "trade.binance-usdm.BTCUSDT"),
        ("depth.binance-spot.ETHUSDT", "depth.binance-usdm.ETHUSDT"),
        ("quote.okx.*USDT", None),
    ],
)
def test_a_pattern_without_a_match_names_what_comes_nearest(pattern, near):
    with pytest.raises(TickdError) as caught:
        Selected([pattern], KNOWN)
    if near is not None:
        assert isinstance(caught.value, ExportError)
        assert near in str(caught.value.hint)


def test_rows_that_nobody_defined_are_refused_when_everything_is_wanted():
    trades = rows("trades", [1, 99], flags=[0, 0])
    with pytest.raises(RefusedRowsError, match="instrument 99"):
        chosen(["*"], trades)
    assert chosen(["trade.binance-usdm.*"], trades) == [0]
