"""Shioaji without a session: frames of the SDK's own objects, topics, contracts, hours, limits."""

from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum

import orjson
import pytest

from gateway.callbacks.session import check
from gateway.callbacks.venue import Contract, SessionEvent
from gateway.config import SdkConfig, SubscriptionConfig, VenueConfig
from gateway.errors import UnknownStreamError
from gateway.limits import NS_PER_SECOND
from gateway.subscriptions.carried import Carried
from gateway.subscriptions.wishes import Listing, Wanted
from gateway.venues.registry import find_callback
from gateway.venues.shioaji.contracts import contract_of
from gateway.venues.shioaji.hours import open_since, period, usage_reset
from gateway.venues.shioaji.wire import ShioajiWire
from tickd.errors import ConfigError
from tickd.secrets import Secret

objects = pytest.importorskip("tickd.testing.shioaji_objects")
KEY = Secret("0123456789ab")
WHEN = datetime(2026, 7, 14, 9, 0, 1, 123456)  # noqa: DTZ001 - the SDK's times have no zone
LADDER = [("100.5", 3), ("100", 4)]


def made():
    common = {"price": "101.5", "total_volume": 100}
    sides = {"bids": LADDER, "asks": LADDER}
    return [
        objects.stock_tick("2330", WHEN, volume=3, **common),
        objects.stock_book("2330", WHEN, **sides),
        objects.futures_tick("TXFF6", WHEN, volume=1, underlying="40020.82", **common),
        objects.futures_book("TXFF6", WHEN, **sides),
        objects.stock_summary("2330", WHEN, **sides, **common),
        objects.futures_summary("TXFF6", WHEN, **sides, **common),
        objects.with_code(objects.index_quote(WHEN, price="23456.78"), "IX0001"),
        objects.odd_lot(objects.stock_tick("2330", WHEN, volume=3, **common)),
    ]


@pytest.mark.parametrize("item", made(), ids=lambda item: type(item).__name__)
def test_a_frame_is_the_whole_object_with_version_class_and_exchange(item):
    frame = orjson.loads(ShioajiWire().frame(item))
    assert frame["v"] == 1
    assert frame["class"] == type(item).__name__
    assert frame["exchange"] in {"TSE", "TAIFEX"}
    said = item.to_dict(raw=True)
    said.pop("exchange", None)
    assert {name: frame[name] for name in said} == said
    assert frame["datetime"] == "2026-07-14T09:00:01.123456"


def test_decimals_are_texts_whatever_type_the_sdk_hands_out():
    class Exchange(Enum):
        TSE = "TSE"

    class TickSTKv1:
        exchange = Exchange.TSE
        price: object

        def to_dict(self, raw):
            assert raw
            return {
                "close": self.price,
                "bid_price": [self.price],
                "volume": 3,
                "date": WHEN.date(),
                "time": WHEN.time(),
                "closing_oddlot_close": None,
            }

    for price, text in (
        ("0.1", "0.1"),
        (Decimal("1E-7"), "0.0000001"),
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        (1e16, "10000000000000000"),
    ):
        item = TickSTKv1()
        item.price = price
        frame = orjson.loads(ShioajiWire().frame(item))
        assert (frame["close"], frame["bid_price"]) == (text, [text])
        assert (frame["date"], frame["time"]) == ("2026-07-14", "09:00:01.123456")
        assert (frame["volume"], frame["closing_oddlot_close"]) == (3, None)


def test_an_object_that_cannot_be_read_raises_and_has_a_frame_of_its_own():
    wire = ShioajiWire()
    with pytest.raises(AttributeError):
        wire.frame(object())
    assert orjson.loads(wire.unreadable(object(), "words")) == {
        "v": 1,
        "class": "Unreadable",
        "of": "object",
        "words": "words",
    }


@pytest.mark.parametrize(
    ("code", "signal"),
    [
        (0, "up"),
        (1, "down"),
        (2, "down"),
        (4, None),
        (5, "discarded"),
        (12, "down"),
        (13, "up"),
        (16, None),
        (17, "resubscribe"),
    ],
)
def test_session_events_mean_what_the_documentation_says(code, signal):
    said = ShioajiWire().signal(SessionEvent(200, code, "", ""))._asdict()
    assert [name for name, value in said.items() if value] == ([signal] if signal else [])


def contract(symbol, market, code=None, exchange="TSE"):
    return Contract(symbol, code or symbol, market, exchange, (), None)


CONTRACTS = (
    contract("2330", "stock"),
    contract("2330-ODD", "odd", "2330"),
    contract("TXFR1", "futures", "TXFF6", "TAIFEX"),
    contract("IX0001", "index"),
)


def planned(channels, symbols):
    return ShioajiWire().streams(channels, symbols, None)


def test_a_plan_knows_feeds_of_symbols_before_anybody_has_logged_in():
    symbols = ("2330", "2330-ODD", "TXFR1", "IX0001", "IX1H6")
    streams = planned(("depth", "trade", "quote", "index"), symbols)
    assert [(stream.name, stream.channel) for stream in streams] == [
        ("bid_ask:2330", "quote"),
        ("tick:2330", "trade"),
        ("bid_ask:2330-ODD", "quote"),
        ("tick:2330-ODD", "trade"),
        ("bid_ask:TXFR1", "quote"),
        ("tick:TXFR1", "trade"),
        ("quote:IX0001", "index"),
        ("bid_ask:IX1H6", "quote"),  # a future on a share, no index
        ("tick:IX1H6", "trade"),
    ]
    assert ShioajiWire().brings(streams[0]) == {"quote", "depth"}
    assert ShioajiWire().brings(streams[1]) == {"trade"}


def resolved(channels):
    wire = ShioajiWire()
    return [
        wire.resolve(stream, contract)
        for contract in CONTRACTS
        for stream in planned(channels, (contract.symbol,))
    ]


def test_a_contract_makes_them_the_documented_topics_and_one_book_feeds_two_channels():
    streams = resolved(("trade", "depth", "quote", "index"))
    assert [stream.name for stream in streams] == [
        "TIC/v1/STK/*/TSE/2330",
        "QUO/v1/STK/*/TSE/2330",
        "TIC/v1/ODD/*/TSE/2330",
        "QUO/v1/ODD/*/TSE/2330",
        "TIC/v1/FOP/*/TFE/TXFF6",
        "QUO/v1/FOP/*/TFE/TXFF6",
        "QUO/v1/IND/*/TSE/IX0001",
    ]
    book = streams[3]
    assert (book.channel, book.symbol, book.endpoint) == ("quote", "2330-ODD", "odd")
    assert book.topics == (
        "quote.shioaji.2330-ODD",
        "depth.shioaji.2330-ODD",
        "quote.shioaji.2330-ODD-TRIAL",
        "depth.shioaji.2330-ODD-TRIAL",
    )
    assert streams[4].topics == ("trade.shioaji.TXFF6", "trade.shioaji.TXFF6-TRIAL")
    (summary,) = planned(("summary",), ("2330",))
    assert ShioajiWire().resolve(summary, CONTRACTS[0]).name == "QUO/v2/STK/*/TSE/2330"
    (tick,) = planned(("trade",), ("2330",))
    assert ShioajiWire().resolve(tick, contract("2330", "index")) is None


def config(symbols=("2330",), channels=("trade", "quote", "depth"), sdk=None, **fields):
    secrets = {"api_key": KEY, "secret_key": KEY}
    return VenueConfig(
        name="shioaji",
        symbols=symbols,
        channels=channels,
        sdk=SdkConfig(**{**secrets, **(sdk or {})}),
        **fields,
    )


def codes(count):
    return tuple(str(1000 + number) for number in range(count))


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (config(channels=("trade", "mark")), "mark"),
        (config(symbols=("2330-TRIAL",)), "2330-TRIAL"),
        (config(symbols=("2330-ODD",), channels=("summary",)), "summary"),
        (config(sdk={"api_key": None}), "credentials"),
        (config(symbols=codes(401)), "802 streams need 5 connections of at most 200"),
        (config(symbols=codes(2), streams_per_connection=1, connections_max=2), "1 are possible"),
    ],
)
def test_what_cannot_work_is_refused_before_anybody_logs_in(refused, words):
    def judge():
        check(find_callback("shioaji"), refused)
        Carried(find_callback("shioaji"), Wanted(refused))

    with pytest.raises(ConfigError, match=words) as error:
        judge()
    assert error.value.hint
    assert KEY.reveal() not in repr(refused)


def test_a_plan_at_the_limit_is_shared_over_four_logins_and_one_stays_free():
    carried = Carried(find_callback("shioaji"), Wanted(config(symbols=codes(400))))
    carried.listed(None, "start", strict=True)
    assert [len(place.streams) for place in carried.places] == [200] * 4
    assert [place.number for place in carried.places] == [1, 2, 3, 4]


def test_patterns_select_from_the_brokers_list_and_the_most_important_stays():
    venue = find_callback("shioaji")
    groups = (
        SubscriptionConfig(name="all", patterns=("shioaji:*@trade",), priority=10),
        SubscriptionConfig(name="first", patterns=("shioaji:10*@trade",), priority=50),
    )
    carried = Carried(venue, Wanted(config(symbols=()), groups))
    names = frozenset(codes(1_000))
    carried.listed(Listing(names, names), "listing")
    planned_ = [stream for place in carried.places for stream in place.streams]
    assert len(planned_) == 800
    assert {f"tick:10{number:02}" for number in range(100)} <= {each.name for each in planned_}
    assert len(carried.left_out) == 200
    assert "800" in carried.take_warnings()[0]


def test_a_venue_without_its_sdk_is_refused_with_the_way_to_get_it():
    with pytest.raises(UnknownStreamError, match="not installed") as error:
        check(find_callback("shioaji")._replace(package="no_such_sdk"), config())
    assert error.value.hint == "pip install 'tickd[no_such_sdk]'"


class Info:
    """Attributes as the SDK's `FuturesInfo` has them, which cannot be made without a login."""

    def __init__(self, **fields):
        self.__dict__.update(fields)


FUTURES = {"security_type": "FUT", "exchange": "TAIFEX", "region": "TW"}


def test_a_stock_has_a_board_an_odd_lot_and_a_trial_instrument():
    info = Info(security_type="STK", exchange="TSE", code="2330", target_code=None, unit=1000.0)
    board, odd = contract_of("2330", info), contract_of("2330-ODD", info)
    assert [each.symbol for each in board.definitions] == ["2330", "2330-TRIAL"]
    assert [each.symbol for each in odd.definitions] == ["2330-ODD", "2330-ODD-TRIAL"]
    assert (board.market, odd.market, odd.code) == ("stock", "odd", "2330")
    first = board.definitions[0]
    assert (first.price_scale, first.size_scale, first.multiplier) == (2, 0, "1000")
    assert odd.definitions[0].multiplier == "1"


@pytest.mark.parametrize(
    ("tick", "locator", "scale", "mantissa"),
    [
        (1.0, 0, 2, 100),
        (0.05, 2, 2, 5),
        (0.0001, 4, 4, 1),
        (0.2, 3, 3, 200),
        (None, None, 4, 1),
        (0.0, 1, 4, 1),
    ],
)
def test_a_contracts_scale_holds_its_tick_and_its_wires_decimals(tick, locator, scale, mantissa):
    info = Info(
        **FUTURES,
        code="TXFR1",
        target_code="TXFF6",
        tick=tick,
        decimal_locator=locator,
        multiplier=200.0,
    )
    found = contract_of("TXFR1", info)
    assert (found.code, found.market) == ("TXFF6", "futures")
    definition = found.definitions[0]
    assert (definition.symbol, definition.multiplier) == ("TXFF6", "200")
    assert (definition.price_scale, definition.tick) == (scale, mantissa)


def test_unknown_kinds_and_odd_lots_of_futures_are_no_contracts():
    assert contract_of("X", Info(security_type="BND", code="X")) is None
    assert contract_of("TXFR1-ODD", Info(**FUTURES, code="TXFR1")) is None
    index = contract_of("IX0001", Info(security_type="IND", exchange="TSE", code="IX0001"))
    assert [each.symbol for each in index.definitions] == ["IX0001"]


def taipei(day, hour, minute, second=0):
    """2026-07-`day`, wall ns. The 14th is a Tuesday."""
    moment = datetime(2026, 7, day, hour, minute, second, tzinfo=UTC)
    return int(moment.timestamp() - 8 * 3600) * NS_PER_SECOND


@pytest.mark.parametrize(
    ("market", "at", "phase"),
    [
        ("stock", (14, 8, 29, 59), "closed"),
        ("stock", (14, 8, 30), "auction"),
        ("stock", (14, 9, 0), "day"),
        ("stock", (14, 13, 24, 59), "day"),
        ("stock", (14, 13, 25), "auction"),
        ("stock", (14, 13, 30), "closed"),
        ("stock", (18, 10, 0), "closed"),  # Saturday
        ("odd", (14, 9, 5), "auction"),
        ("odd", (14, 13, 29), "day"),
        ("futures", (14, 8, 44), "auction"),
        ("futures", (14, 8, 45), "day"),
        ("futures", (14, 13, 45), "closed"),
        ("futures", (14, 14, 55), "auction"),
        ("futures", (14, 15, 0), "night"),
        ("futures", (15, 4, 59, 59), "night"),
        ("futures", (15, 5, 0), "closed"),
        ("futures", (18, 3, 0), "night"),  # of Friday
        ("futures", (20, 3, 0), "closed"),  # Monday, before it begins
        ("index", (14, 9, 0), "day"),
    ],
)
def test_markets_trade_when_the_exchange_says(market, at, phase):
    assert period(market, taipei(*at))[0] == phase


def test_the_allowance_begins_anew_at_eight_on_weekdays():
    assert usage_reset(taipei(14, 8, 0) - 1) == taipei(14, 8, 0)
    assert usage_reset(taipei(14, 8, 0)) == taipei(15, 8, 0)
    assert usage_reset(taipei(17, 8, 0)) == taipei(20, 8, 0), "a weekend"
    assert usage_reset(taipei(18, 14, 0)) == taipei(20, 8, 0)


def test_a_session_is_open_since_it_began():
    assert open_since("futures", taipei(15, 3, 0)) == taipei(14, 15, 0)
    assert open_since("stock", taipei(14, 10, 0)) == taipei(14, 9, 0)
    assert open_since("stock", taipei(14, 13, 27)) is None
