"""The REST side: depth, exchangeInfo, weights and refusals."""

from __future__ import annotations

import pytest

from gateway.servers.config import ProtocolConfig, SimServerConfig
from gateway.venues.registry import find
from tests.unit.gateway.servers.kit import simulated

PREFIXES = {"spot": "/api/v3", "usdm": "/fapi/v1", "coinm": "/dapi/v1"}


async def test_three_markets_answer_on_one_port() -> None:
    config = SimServerConfig(markets=("spot", "usdm", "coinm"), symbols=2)
    async with simulated(config) as venue:
        assert len(set(venue.addresses.ws.values())) == 3
        assert len(set(venue.addresses.rest.values())) == 1
        for market, prefix in PREFIXES.items():
            symbol = "BTCUSD_PERP" if market == "coinm" else "BTCUSDT"
            status, book = await venue.get(f"{prefix}/depth?symbol={symbol}&limit=100")
            assert status == 200
            assert (len(book["bids"]), len(book["asks"])) == (100, 100)
            assert float(book["bids"][0][0]) < float(book["asks"][0][0])
            assert ("T" in book) == (market != "spot")
            status, info = await venue.get(f"{prefix}/exchangeInfo")
            assert [entry["symbol"] for entry in info["symbols"]][:1] == [symbol]
            assert (await venue.get(f"{prefix}/ping")) == (200, {})
            assert (await venue.get(f"{prefix}/time"))[1]["serverTime"] > 0


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("symbol=NOSUCH", 400, -1121),
        ("limit=5", 400, -1102),
        ("symbol=BTCUSDT&limit=7", 400, -4021),
        ("symbol=BTCUSDT&limit=x", 400, -4021),
    ],
)
async def test_a_bad_depth_request_is_refused(query: str, status: int, code: int) -> None:
    async with simulated(SimServerConfig(symbols=1)) as venue:
        answer = await venue.get(f"/fapi/v1/depth?{query}")
        assert (answer[0], answer[1]["code"]) == (status, code)


async def test_spot_filters_the_list_and_refuses_unknown_symbols() -> None:
    async with simulated(SimServerConfig(markets=("spot",), symbols=5)) as venue:
        path = "/api/v3/exchangeInfo?symbols="
        _, info = await venue.get(f'{path}["ETHUSDT"]', "binance-spot")
        assert [entry["symbol"] for entry in info["symbols"]] == ["ETHUSDT"]
        status, refusal = await venue.get(f'{path}["NOSUCH"]', "binance-spot")
        assert (status, refusal["code"]) == (400, -1121)
        assert (await venue.get(f"{path}nonsense", "binance-spot"))[0] == 400


async def test_too_much_weight_is_429_with_retry_after() -> None:
    # 1000 levels weigh 20: two fit into 40. Three requests can lie in two minutes, five cannot.
    config = SimServerConfig(symbols=1, protocol=ProtocolConfig(weight_per_minute_max=40))
    async with simulated(config) as venue:
        path = f"{venue.addresses.rest['binance-usdm']}/fapi/v1/depth?symbol=BTCUSDT&limit=1000"
        seen = []
        for _ in range(5):
            async with venue.session.get(path) as reply:
                seen.append((reply.status, "Retry-After" in reply.headers))
                assert int(reply.headers["X-MBX-USED-WEIGHT-1M"]) % 20 == 0
        assert seen[0] == (200, False)
        assert (429, True) in seen


async def test_past_trades_go_up_from_an_id_and_need_a_key_where_the_venue_wants_one() -> None:
    config = SimServerConfig(
        markets=("spot", "usdm"), symbols=1, rate=5_000, start_on_subscribe=False,
        seconds=0.2, remembered_trades=10_000,
    )  # fmt: skip
    async with simulated(config) as venue:
        query = "historicalTrades?symbol=BTCUSDT&limit=3"
        status, refusal = await venue.get(f"/fapi/v1/{query}")
        assert (status, refusal["code"]) == (401, -2014)
        newest: list[dict[str, int]] = []
        while len(newest) < 3:
            _, newest = await venue.get(f"/api/v3/{query}", "binance-spot")
        ids = [each["id"] for each in newest]
        assert ids == list(range(ids[0], ids[0] + 3))
        _, again = await venue.get(f"/api/v3/{query}&fromId={ids[1]}", "binance-spot")
        assert again[0] == newest[1]
        for bad in ("symbol=BTCUSDT&limit=0", "symbol=BTCUSDT&fromId=x", "limit=3"):
            status, _ = await venue.get(f"/api/v3/historicalTrades?{bad}", "binance-spot")
            assert status == 400


async def test_the_tickers_of_all_symbols_follow_their_places_and_surges() -> None:
    """Read by the venues' own wires."""
    config = SimServerConfig(markets=("spot", "usdm", "coinm"), symbols=4)
    async with simulated(config) as venue:
        for market, prefix in PREFIXES.items():
            name = f"binance-{market}"
            path = f"{venue.addresses.rest[name]}{prefix}/ticker/24hr"
            for order, expected in (((), [0, 1, 2, 3]), ((2, 7), [2, 0, 1, 3])):
                symbols = venue.addresses.symbols[name]
                if order:
                    fault = {"kind": "surge", "market": market, "symbol": symbols[order[0]]}
                    assert (await venue.post("/_fault", fault | {"argument": order[1]}))[0] == 200
                async with venue.session.get(path) as reply:
                    figures = find(name).wire.rankings(await reply.read())
                for rank in ("volume", "turnover", "trades"):
                    values = {each.symbol: each.value(rank) or 0.0 for each in figures}
                    assert all(value > 0 for value in values.values())
                    if rank != "turnover":  # that depends on prices, too
                        found = sorted(values, key=lambda symbol: -values[symbol])
                        assert found == [symbols[place] for place in expected]
                assert all((each.volatility_f or 0.0) > 0 for each in figures)


async def test_tickers_weigh_what_the_venue_says() -> None:
    async with simulated(SimServerConfig(symbols=1)) as venue:
        path = f"{venue.addresses.rest['binance-usdm']}/fapi/v1/ticker/24hr"
        async with venue.session.get(path) as reply:
            assert reply.headers["X-MBX-USED-WEIGHT-1M"] == "40"
        assert (await venue.get("/fapi/v1/ticker/24hr?symbol=BTCUSDT"))[0] == 400
        await venue.post("/_fault", {"kind": "rest_down", "argument": 60_000})
        assert (await venue.get("/fapi/v1/ticker/24hr"))[0] == 504
