"""Recorded rows to hftbacktest's: what each becomes, when, and what is left out and said."""

import json

import numpy as np
import pytest

from backtest.export.errors import ExportError, RefusedRowsError
from backtest.export.formats import hftbacktest as this_format
from backtest.export.formats.port import FormatOptions
from backtest.export.hftbacktest_check import Grid, check_files
from backtest.export.hftbacktest_rows import (
    BUY,
    CLEAR,
    DEPTH,
    DEPTH_BBO,
    EXCH,
    LOCAL,
    ROW,
    SNAPSHOT,
    TRADE,
    prices,
)
from backtest.export.run import Request, run_export
from recorder.raw.log_rows import LogRows
from tests.harness.log_writer import Line, LogWriter, connect, instrument

S, MS = 10**9, 10**6
MIDNIGHT = 1_795_219_200 * S
VENUE, SYMBOL = "binance-usdm", "AUSDT"
BOTH = EXCH | LOCAL


class Market:
    """Messages of one USD-M symbol with stamps of one's choice."""

    def __init__(self, start=MIDNIGHT - 60 * S):
        self.start = start
        self.lines = [
            Line(start, 0, "C", instrument(VENUE, SYMBOL, price_scale=2, size_scale=3)),
            Line(start, 1, "C", connect(VENUE, 1, [])),
        ]

    def _add(self, at, stream, data):
        text = json.dumps({"stream": f"{SYMBOL.lower()}@{stream}", "data": data})
        self.lines.append(Line(self.start + at, 1, "W", text.encode()))

    def trade(self, at, number, price="1.00", *, exch=None, market="MARKET", sell=False):
        stamp = (self.start + (at - 5 * MS if exch is None else exch)) // MS
        data = {"e": "trade", "E": stamp, "T": stamp, "s": SYMBOL, "t": number, "p": price}
        self._add(at, "trade", data | {"q": "0.500", "X": market, "m": sell})

    def merged(self, at, number):
        stamp = (self.start + at) // MS - 5
        data = {"e": "aggTrade", "E": stamp, "T": stamp, "s": SYMBOL, "a": number, "p": "1.00"}
        self._add(at, "aggTrade", data | {"q": "0.500", "f": number, "l": number, "m": False})

    def quote(self, at, number):
        stamp = (self.start + at) // MS - 5
        data = {"e": "bookTicker", "u": number, "s": SYMBOL, "b": "0.99", "B": "1.000"}
        self._add(at, "bookTicker", data | {"a": "1.01", "A": "2.000", "T": stamp, "E": stamp})

    def depth(self, at, last, bids=(), asks=(), *, exch=None, previous=None):
        stamp = (self.start + (at - 5 * MS if exch is None else exch)) // MS
        data = {"e": "depthUpdate", "E": stamp, "T": stamp, "s": SYMBOL, "U": last, "u": last}
        data |= {"pu": last - 1 if previous is None else previous}
        self._add(at, "depth@0ms", data | {"b": list(bids), "a": list(asks)})

    def snapshot(self, at, last, bids, asks):
        stamp = (self.start + at) // MS - 50
        body = {"lastUpdateId": last, "E": stamp, "T": stamp, "bids": bids, "asks": asks}
        head = f"GET /fapi/v1/depth?symbol={SYMBOL}&limit=1000 200\n"
        self.lines.append(Line(self.start + at, 1, "R", head.encode() + json.dumps(body).encode()))

    def live(self):
        """A proven book: 0.99 x 3 | 1.01 x 4, 1.05 x 9."""
        self.depth(10 * MS, 10, [("0.98", "1.000")])
        self.snapshot(60 * MS, 10, [("0.99", "3.000")], [("1.01", "4.000"), ("1.05", "9.000")])
        self.depth(70 * MS, 11)


async def export(market, tmp_path, *, topics="trade.*.*,depth.*.*", span=(None, None), **options):
    with LogWriter(tmp_path / "raw", start_ns=market.start) as log:
        log.write(sorted(market.lines, key=lambda line: line.recv_ns))
    lead_in = options.pop("lead_in_ns", 0)
    request = Request(
        tuple(topics.split(",")),
        *span,
        tmp_path / "out",
        FormatOptions(**options),
        lead_in_ns=lead_in,
    )
    return await run_export(LogRows(tmp_path / "raw"), this_format.FORMAT, request)


def rows_of(path):
    with np.load(path) as file:
        assert file["data"].dtype == ROW
        return file["data"]


def files(tmp_path):
    return sorted((tmp_path / "out").glob("*.npz"))


def short(rows, start):
    """Rows as (flags, code, side, exch ms, local ms, px, qty)."""
    flags = {BOTH: "EL", EXCH: "E", LOCAL: "L"}
    names = {TRADE: "trade", DEPTH: "depth", CLEAR: "clear", SNAPSHOT: "snap", DEPTH_BBO: "bbo"}
    return [
        (
            flags[int(r["ev"]) & BOTH],
            names[int(r["ev"]) & 0xFF],
            "B" if int(r["ev"]) & BUY else "A",
            (int(r["exch_ts"]) - start) / MS,
            (int(r["local_ts"]) - start) / MS,
            float(r["px"]),
            float(r["qty"]),
        )
        for r in rows
    ]


async def test_a_proven_book_then_changes_then_trades(tmp_path):
    market = Market()
    market.live()
    market.depth(100 * MS, 12, [("0.99", "0.000"), ("1.00", "5.000")])
    market.trade(110 * MS, 1, "1.00", sell=True)
    report = await export(market, tmp_path)
    (path,) = files(tmp_path)
    assert path.name == "binance-usdm_AUSDT_20261120.npz"
    assert short(rows_of(path), market.start) == [
        ("EL", "clear", "B", 10, 60, 0.99, 0),
        ("EL", "clear", "A", 10, 60, 1.05, 0),
        ("EL", "snap", "B", 10, 60, 0.99, 3),
        ("EL", "snap", "A", 10, 60, 1.01, 4),
        ("EL", "snap", "A", 10, 60, 1.05, 9),
        ("EL", "depth", "B", 95, 100, 0.99, 0),
        ("EL", "depth", "B", 95, 100, 1.00, 5),
        ("EL", "trade", "A", 105, 110, 1.00, 0.5),
    ]
    facts = report.files[0].facts
    assert facts["book messages without a proven book left out"] == 1
    assert (facts["trades"], facts["snapshot_levels"], facts["rows_split"]) == (1, 3, 0)


async def test_a_new_snapshot_clears_up_to_the_furthest_known_price(tmp_path):
    market = Market()
    market.live()
    market.depth(80 * MS, 12, [("0.50", "1.000")], [("9.99", "1.000")])
    market.depth(90 * MS, 15, previous=14)  # two are missing
    market.trade(95 * MS, 1)
    market.snapshot(200 * MS, 15, [("0.97", "1.000")], [("1.02", "1.000")])
    market.depth(210 * MS, 16)
    report = await export(market, tmp_path)
    found = short(rows_of(files(tmp_path)[0]), market.start)
    clears = [row for row in found if row[1] == "clear"][2:]
    assert [(row[2], row[5]) for row in clears] == [("B", 0.5), ("A", 9.99)]
    assert found[-2:] == [
        ("EL", "snap", "B", clears[0][3], clears[0][4], 0.97, 1),
        ("EL", "snap", "A", clears[0][3], clears[0][4], 1.02, 1),
    ]
    assert report.gaps_total == 1


async def test_a_trade_stands_before_the_change_it_causes_in_both_orders(tmp_path):
    market = Market()
    market.live()
    market.depth(100 * MS, 12, [("0.99", "2.000")])
    market.trade(100 * MS, 1, sell=True)  # received after it, with the same stamps
    await export(market, tmp_path)
    found = short(rows_of(files(tmp_path)[0]), market.start)[-2:]
    assert [row[1] for row in found] == ["trade", "depth"]
    assert {row[0] for row in found} == {"EL"}


async def test_a_late_row_is_split_and_nothing_is_lost(tmp_path):
    market = Market()
    market.live()
    market.depth(100 * MS, 12, [("0.99", "2.000")])
    market.trade(120 * MS, 1, exch=80 * MS)
    report = await export(market, tmp_path)
    found = short(rows_of(files(tmp_path)[0]), market.start)[-3:]
    assert [(row[0], row[1]) for row in found] == [("E", "trade"), ("EL", "depth"), ("L", "trade")]
    assert report.files[0].facts["rows_split"] == 1


async def test_quotes_become_best_prices(tmp_path):
    market = Market()
    market.quote(100 * MS, 7)
    await export(market, tmp_path, topics="quote.*.*")
    assert short(rows_of(files(tmp_path)[0]), market.start) == [
        ("EL", "bbo", "B", 95, 100, 0.99, 1),
        ("EL", "bbo", "A", 95, 100, 1.01, 2),
    ]


async def test_trades_outside_the_book_are_left_out_and_counted(tmp_path):
    market = Market()
    market.trade(10 * MS, 1)
    market.trade(20 * MS, 2, market="INSURANCE_FUND")
    report = await export(market, tmp_path, topics="trade.*.*")
    assert report.files[0].rows == 1
    assert report.files[0].facts["trades outside the book left out"] == 1


async def test_trades_that_were_fetched_later_are_left_out_and_counted(tmp_path):
    market = Market()
    market.trade(10 * MS, 1)
    market.trade(20 * MS, 4)
    at = market.start + 900 * MS
    head = connect(VENUE, 9, []).replace(b"{", b'{"backfill":true,', 1)
    past = [
        {"id": number, "price": "1.00", "qty": "0.500", "time": at // MS, "isBuyerMaker": False}
        for number in (2, 3)
    ]
    reply = f"GET /fapi/v1/historicalTrades?symbol={SYMBOL}&fromId=2&limit=2 200\n"
    market.lines.append(Line(at, 9, "C", head))
    market.lines.append(Line(at, 9, "R", reply.encode() + json.dumps(past).encode()))
    report = await export(market, tmp_path, topics="trade.*.*,backfill.*.*")
    assert report.files[0].rows == 2
    assert report.files[0].facts["trades fetched later left out"] == 2


async def test_trades_and_merged_trades_of_one_instrument_are_refused(tmp_path):
    market = Market()
    market.trade(10 * MS, 1)
    market.merged(20 * MS, 2)
    with pytest.raises(RefusedRowsError, match="counts twice"):
        await export(market, tmp_path, topics="*")
    assert list((tmp_path / "out").iterdir()) == []
    for path in (tmp_path / "raw" / "segments").iterdir():
        path.unlink()
    (tmp_path / "raw" / "segments").rmdir()
    report = await export(market, tmp_path, topics="aggtrade.*.*")
    assert report.files[0].rows == 1


def two_days():
    market = Market(MIDNIGHT - S)
    market.live()
    market.depth(500 * MS, 12, [("0.98", "7.000")])
    market.trade(1_002 * MS, 1, exch=300 * MS)  # of yesterday, received after midnight
    market.depth(1_010 * MS, 13, [("0.97", "8.000")])
    market.trade(1_020 * MS, 2)
    return market


async def test_a_day_begins_with_its_whole_book_and_order_holds_over_midnight(tmp_path):
    market = two_days()
    await export(market, tmp_path)
    first, second = files(tmp_path)
    assert [first.name[-12:-4], second.name[-12:-4]] == ["20261120", "20261121"]
    before, after = (short(rows_of(path), market.start) for path in (first, second))
    # The late trade happened before midnight, and so stands there for the exchange.
    assert before[-2:] == [
        ("E", "trade", "B", 300, 1_002, 1.0, 0.5),
        ("EL", "depth", "B", 495, 500, 0.98, 7),
    ]
    assert [row[1] for row in after if "L" in row[0]] == [
        "clear",
        "clear",
        "snap",
        "snap",
        "snap",
        "snap",
        "trade",
        "depth",
        "trade",
    ]
    opening = [row for row in after if row[1] == "snap"]
    assert {row[4] for row in opening} == {1_000}
    assert {(row[2], row[5], row[6]) for row in opening} == {
        ("B", 0.99, 3),
        ("B", 0.98, 7),
        ("A", 1.01, 4),
        ("A", 1.05, 9),
    }
    assert check_files([first, second], Grid(1, 2)) == []


async def test_an_opening_book_is_the_first_that_the_exchange_side_reads(tmp_path):
    """The day's last trade is newer than its book: it moves into the file that the book opens."""
    market = two_days()
    market.trade(900 * MS, 3)
    await export(market, tmp_path)
    first, second = files(tmp_path)
    assert [first.name[-12:-4], second.name[-12:-4]] == ["20261120", "20261121"]
    after = short(rows_of(second), market.start)
    assert [row[:2] for row in after[:7]] == [
        ("E", "clear"),
        ("E", "clear"),
        *[("E", "snap")] * 4,
        ("EL", "trade"),
    ]
    assert [row[:2] for row in after[7:13]] == [
        ("L", "clear"),
        ("L", "clear"),
        *[("L", "snap")] * 4,
    ]
    assert check_files([first, second], Grid(1, 2)) == []


async def test_the_book_before_the_range_opens_it_when_it_is_led_in(tmp_path):
    market = two_days()
    span = (MIDNIGHT, None)
    report = await export(market, tmp_path / "a", span=span, lead_in_ns=S)
    found = rows_of(files(tmp_path / "a")[0])
    received = found[(found["ev"] & LOCAL) != 0]
    assert [int(code) for code in received["ev"] & 0xFF][:3] == [CLEAR, CLEAR, SNAPSHOT]
    assert report.rows == {"trades": 2, "book": 1}  # what leads in is not counted
    without = await export(market, tmp_path / "b", span=span)
    assert without.hash == report.hash
    assert {int(code) for code in rows_of(files(tmp_path / "b")[0])["ev"] & 0xFF} == {TRADE}
    assert without.files[0].facts["book messages without a proven book left out"] == 1


def skewed():
    market = Market()
    market.live()
    market.trade(100 * MS, 1, exch=130 * MS)
    market.trade(150 * MS, 2)
    return market


async def test_rows_from_the_future_are_refused_and_never_shifted_silently(tmp_path):
    with pytest.raises(RefusedRowsError, match=r"1 rows are not later .* by up to 30 ms"):
        await export(skewed(), tmp_path)
    assert list((tmp_path / "out").iterdir()) == []


async def test_shift_moves_every_stamp_by_one_amount(tmp_path):
    market = skewed()
    report = await export(market, tmp_path, clock_skew="shift")
    facts = report.files[0].facts
    assert (facts["shift_ns"], facts["clock skew"]) == (30 * MS + 1, 1)
    rows = rows_of(files(tmp_path)[0])
    trades = rows[((rows["ev"] & 0xFF) == TRADE) & ((rows["ev"] & LOCAL) != 0)]
    assert (trades["local_ts"] - market.start).tolist() == [130 * MS + 1, 180 * MS + 1]


async def test_drop_leaves_skewed_trades_out_but_never_breaks_a_book(tmp_path):
    report = await export(skewed(), tmp_path / "a", clock_skew="drop")
    assert report.files[0].facts["trades"] == 1
    market = skewed()
    market.depth(200 * MS, 12, [("0.99", "1.000")], exch=300 * MS)
    with pytest.raises(RefusedRowsError, match="cannot be dropped without breaking the book"):
        await export(market, tmp_path / "b", clock_skew="drop")


async def test_receive_stamps_that_run_back_need_a_decision_too(tmp_path):
    market = Market()
    for number, at in enumerate((100, 200, 150, 300), 1):
        market.trade(at * MS, number, exch=(90 + number) * MS)
    market.lines = [market.lines[n] for n in (0, 1, 2, 3, 4, 5)]
    with LogWriter(tmp_path / "raw", start_ns=market.start) as log:
        log.write(market.lines)  # in the order of the stream, not of the stamps
    request = Request(("trade.*.*",), None, None, tmp_path / "out")
    with pytest.raises(RefusedRowsError, match="1 receive stamps run back"):
        await run_export(LogRows(tmp_path / "raw"), this_format.FORMAT, request)
    request = request._replace(options=FormatOptions(clock_skew="shift"))
    report = await run_export(LogRows(tmp_path / "raw"), this_format.FORMAT, request)
    stamps = rows_of(files(tmp_path)[0])["local_ts"] - market.start
    assert stamps.tolist() == [100 * MS, 200 * MS, 200 * MS, 300 * MS]
    assert report.files[0].facts["receive stamps raised"] == 1


async def test_channels_and_options_without_meaning_are_refused(tmp_path):
    market = skewed()
    with pytest.raises(ExportError, match="no rows for mark"):
        await export(market, tmp_path / "a", topics="mark.*.*")
    with pytest.raises(ExportError, match="a row per level"):
        await export(market, tmp_path / "b", levels="flat")


async def test_a_price_off_the_grid_fails_the_check(tmp_path):
    market = Market()
    market.lines[0] = Line(
        market.start, 0, "C", instrument(VENUE, SYMBOL, price_scale=2, size_scale=3, tick=5)
    )
    market.trade(10 * MS, 1, "1.01")
    with pytest.raises(ExportError, match=r"row 0: px is not on the tick grid \(1\)"):
        await export(market, tmp_path / "a")
    assert list((tmp_path / "a" / "out").iterdir()) == []
    assert (await export(market, tmp_path / "b", check=False)).files[0].rows == 1


def test_prices_are_the_nearest_doubles():
    mantissas = np.array([1, 123_456_789, (1 << 62) + 1, -((1 << 62) + 3), 9_007_199_254_740_993])
    found = prices(mantissas, 8)
    assert [repr(float(each)) for each in found] == [
        repr(float(f"{int(each)}e-8")) for each in mantissas
    ]
