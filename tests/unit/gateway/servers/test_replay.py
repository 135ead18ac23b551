"""The replay venue: recorded messages come out byte for byte, in order, with a book behind REST."""

from __future__ import annotations

import gzip
from collections import Counter, defaultdict
from pathlib import Path

import msgspec
import pytest

from gateway.servers.captures import scan
from gateway.servers.config import ProtocolConfig, ReplayServerConfig
from gateway.servers.replay_book import ReplayBook
from tests.unit.gateway.servers.kit import Venue, receive, replayed
from tickd.errors import ConfigError

BASE_NS = 1_723_161_255_000_000_000


def depth(first: int, last: int, previous: int, bids: str, asks: str = "") -> str:
    return (
        '{"stream":"abcusdt@depth@0ms","data":{"e":"depthUpdate","E":1,"T":1,"s":"ABCUSDT",'
        f'"U":{first},"u":{last},"pu":{previous},"b":[{bids}],"a":[{asks}]}}}}'
    )


def trade(number: int) -> str:
    return (
        '{"stream":"abcusdt@trade","data":{"e":"trade","E":1,"T":1,"s":"ABCUSDT",'
        f'"t":{number},"p":"10.50","q":"1.5","X":"MARKET","m":true}}}}'
    )


SNAPSHOT = (
    '{"lastUpdateId":105,"E":1,"T":1,"bids":[["10.40","1.0"],["10.30","3.0"]],'
    '"asks":[["10.60","1.0"],["10.70","4.0"]]}'
)
MESSAGES = [
    trade(1),
    depth(90, 100, 80, '["9.00","7.0"]'),
    depth(101, 110, 100, '["10.40","2.0"]', '["10.60","0.0"]'),
    SNAPSHOT,
    trade(2),
    depth(111, 120, 110, '["10.30","0.0"]', '["10.55","9.0"]'),
    trade(3),
]


def write(path: Path, messages: list[str] = MESSAGES, step_ns: int = 1_000_000) -> str:
    lines = [f"{BASE_NS + i * step_ns} {message}\n" for i, message in enumerate(messages)]
    path.write_text("".join(lines))
    return str(path)


async def read_to_end(venue: Venue, path: str, name: str = "binance-usdm") -> list[str]:
    async with venue.connect(path, name) as ws:
        return [message.data async for message in ws]


async def test_a_hand_made_capture_arrives_in_file_order(tmp_path: Path) -> None:
    log = tmp_path / "sent.log"
    config = ReplayServerConfig(
        files=(write(tmp_path / "made"),),
        speed=0.0,
        exit_when_done=True,
        protocol=ProtocolConfig(sent_log=str(log)),
    )
    async with replayed(config) as venue:
        path = "/public/stream?streams=abcusdt@trade/abcusdt@depth@0ms"
        received = await read_to_end(venue, path)
    expected = [message for message in MESSAGES if "stream" in message]
    assert received == expected
    assert [line.split(" ", 2)[2] for line in log.read_text().splitlines()] == expected


async def test_a_bare_connection_gets_the_data_only(tmp_path: Path) -> None:
    file = write(tmp_path / "made", [trade(1), trade(2)])
    config = ReplayServerConfig(files=(file,), speed=0.0, exit_when_done=True)
    async with replayed(config) as venue:
        received = await read_to_end(venue, "/public/ws/abcusdt@trade")
    assert [msgspec.json.decode(text)["t"] for text in received] == [1, 2]


async def test_it_waits_for_every_stream_and_rest_waits_for_the_snapshot(tmp_path: Path) -> None:
    config = ReplayServerConfig(files=(write(tmp_path / "made"),), speed=0.0)
    async with replayed(config) as venue, venue.connect("/public/stream") as ws:
        await ws.send_json({"method": "SUBSCRIBE", "params": ["abcusdt@trade"], "id": 1})
        assert await receive(ws) == {"result": None, "id": 1}
        await ws.send_json({"method": "SUBSCRIBE", "params": ["abcusdt@depth@0ms"], "id": 2})
        assert await receive(ws) == {"result": None, "id": 2}  # nothing was played before
        _, book = await venue.get("/fapi/v1/depth?symbol=ABCUSDT&limit=5")
        assert (await receive(ws))["data"]["t"] == 1
        assert book["lastUpdateId"] in {110, 120}
        assert (await venue.get("/fapi/v1/depth?symbol=NOSUCH&limit=5"))[0] == 400
        _, info = await venue.get("/fapi/v1/exchangeInfo")
        filters = info["symbols"][0]["filters"]
        assert (filters[0]["tickSize"], filters[1]["stepSize"]) == ("0.01", "0.1")


async def test_speed_paces_by_the_recorded_times(tmp_path: Path) -> None:
    file = write(tmp_path / "made", [trade(n) for n in range(1, 6)], step_ns=100_000_000)
    config = ReplayServerConfig(files=(file,), speed=10.0)
    async with replayed(config) as venue, venue.connect("/public/ws/abcusdt@trade") as ws:
        times = []
        for _ in range(5):
            await receive(ws)
            _, clock = await venue.get("/fapi/v1/time")
            times.append(clock["serverTime"])
    assert 30 <= times[-1] - times[0] <= 2_000  # 400 ms at ten times the speed


async def test_two_markets_of_one_symbol_stay_apart(tmp_path: Path) -> None:
    spot = trade(7).replace(',"X":"MARKET","m":true', ',"T":1,"m":true,"M":true')
    files = (write(tmp_path / "a", [trade(1)]), write(tmp_path / "b", [spot]))
    config = ReplayServerConfig(files=files, speed=0.0, exit_when_done=True)
    async with (
        replayed(config) as venue,
        venue.connect("/ws/abcusdt@trade", "binance-usdm") as usdm,
        venue.connect("/ws/abcusdt@trade", "binance-spot") as cash,
    ):
        assert ((await receive(usdm))["t"], (await receive(cash))["t"]) == (1, 7)


def test_the_book_follows_the_guide() -> None:
    book = ReplayBook()
    for message in MESSAGES[:3]:
        if "depthUpdate" in message:
            book.play_diff(message.encode())
    assert not book.is_known
    book.play_snapshot(MESSAGES[3].encode())
    reply = msgspec.json.decode(book.answer(10))
    # Diff 90..100 is older than the snapshot, 101..110 spans it.
    assert reply["lastUpdateId"] == 110
    assert reply["bids"] == [["10.40", "2.0"], ["10.30", "3.0"]]
    assert reply["asks"] == [["10.70", "4.0"]]
    book.play_diff(MESSAGES[5].encode())
    reply = msgspec.json.decode(book.answer(1))
    assert (reply["bids"], reply["asks"]) == ([["10.40", "2.0"]], [["10.55", "9.0"]])


@pytest.mark.parametrize("content", ["", "nonsense\n", "123 {}\n"])
def test_what_is_not_a_capture_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "file").write_text(content)
    with pytest.raises(ConfigError):
        scan(str(tmp_path / "file"))
    with pytest.raises(ConfigError):
        scan(str(tmp_path / "absent"))


def test_a_market_may_be_named(tmp_path: Path) -> None:
    file = write(tmp_path / "made")
    assert scan(file).market == "usdm"
    assert scan(f"coinm:{file}").market == "coinm"


def recorded(path: Path) -> dict[str, list[str]]:
    by_stream = defaultdict(list)
    with gzip.open(path, "rt") as lines:
        for line in lines:
            payload = line.rstrip("\n").split(" ", 1)[1]
            if payload.startswith('{"stream":"'):
                by_stream[payload[11 : payload.index('"', 11)]].append(payload)
    return by_stream


@pytest.mark.proof
@pytest.mark.captures
@pytest.mark.parametrize(
    ("name", "venue_name"),
    [
        ("usdm_btcusdt_20240808.gz", "binance-usdm"),
        ("spot_btcusdt_20240808.gz", "binance-spot"),
        ("cm_btcusd_perp_20240808.gz", "binance-coinm"),
    ],
)
async def test_real_captures_arrive_byte_for_byte(
    name: str, venue_name: str, captures: Path
) -> None:
    file = captures / "wire" / "binance" / name
    expected = recorded(file)
    config = ReplayServerConfig(files=(str(file),), speed=0.0, exit_when_done=True)
    received = defaultdict(list)
    async with replayed(config) as venue:
        for text in await read_to_end(venue, "/stream?streams=" + "/".join(expected), venue_name):
            received[text[11 : text.index('"', 11)]].append(text)
    assert received == expected


@pytest.mark.captures
def test_cryptofeed_text_is_read_with_its_rest_answers(captures: Path) -> None:
    folder = captures / "wire" / "cryptofeed"
    frames = scan(str(folder / "BINANCE_FUTURES.ws.1.0"))
    kinds = Counter(line.stream.split("@", 1)[1] for line in frames.read())
    assert kinds["depth@100ms"] == 764
    assert kinds["bookTicker"] == 613
    assert kinds["aggTrade"] == 91
    assert (frames.market, len(frames.symbols)) == ("usdm", 4)
    answers = scan(str(folder / "BINANCE_FUTURES.http.0.0"))
    assert (answers.snapshots, answers.market) == (4, "usdm")
    assert {line.symbol for line in answers.read()} == set(frames.symbols)
