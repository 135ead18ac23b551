"""Warm-up from a real raw log: as if it had been there; where not, colder, with a note."""

from __future__ import annotations

import json
import select
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from strategy_runner import image as images
from strategy_runner.config import StrategyConfig
from strategy_runner.image import Image, joined, pack, unpack
from strategy_runner.runner import StrategyHost, owner_of
from tests.harness.market_lines import SYMBOL, lines
from tickd.app import strategy_warmup
from tickd.app.strategy_images import SHARE, SKIPPED_MAX, ImageFile
from tickd.app.strategy_warmup import Warmup
from tickd.app.strategy_wire import Warmth
from tickd.native import Decoder, EventBatch, RawLog
from tickd.testing.clock import ManualClock

CONFIG = StrategyConfig(name="mine", class_="nowhere:Mine")
MESSAGES = 1_500
SECOND_NS = 1_000_000_000


class Recorded:
    """A raw log of a small market, with fills, and every batch as it was published."""

    def __init__(self, directory: Path, messages: int = MESSAGES, *, again_at: int = -1) -> None:
        self.directory = directory
        self.batches: list[EventBatch] = []
        self.definitions: dict[int, bytes] = {}
        self.log = RawLog(str(directory / "raw"), node=1)
        self.decoder = Decoder()
        self.log.restore_decoder(self.decoder)
        self.define(1)
        connect = {"kind": "connect", "connection": 1, "venue": "binance-usdm", "url": ""}
        self.log.record(1, "C", json.dumps({**connect, "streams": []}).encode())
        self.publish()
        for number, (recv_ns, payload) in enumerate(lines(5, messages)):
            self.recv_ns = recv_ns
            if payload.startswith(b'{"stream"'):
                self.log.frame_at(1, payload, recv_ns, recv_ns)
            else:
                head = f"GET /fapi/v1/depth?symbol={SYMBOL}&limit=1000 200\n".encode()
                self.log.record(1, "R", head + payload)
            if number == again_at:
                self.define(2)
            if number % 100 == 0:
                self.fill(number)
            if number % 7 == 0:
                self.publish()
            if number % 250 == 249:
                self.rotate()
        self.publish()

    def define(self, tick: int) -> None:
        definition = {"kind": "instrument", "venue": "binance-usdm", "symbol": SYMBOL, "lot": 1}
        definition |= {"asset_class": "perpetual", "price_scale": 1, "size_scale": 3, "tick": tick}
        self.log.record(0, "C", json.dumps({**definition, "multiplier": "1"}).encode())

    def fill(self, number: int) -> None:
        order = {"kind": "order", "strategy": "mine", "reason": "", "venue": "binance-usdm"}
        order |= {"client_id": owner_of("mine") << 32 | number + 1, "symbol": SYMBOL, "side": "B"}
        order |= {"instrument": self.decoder.instruments()[0][0], "state": "filled"}
        self.log.record(0, "C", json.dumps({**order, "price": number, "size": 5}).encode())

    def rotate(self) -> None:
        self.publish()
        self.log.rotate()
        self.log.write_now()
        while self.log.written < self.seq >> 16:
            select.select([self.log.wake_fd], [], [], 0.01)  # the test's timeout is the judge

    def publish(self) -> None:
        batch = self.log.end_burst(self.decoder)
        self.definitions.update(self.decoder.instruments())
        if batch is not None:
            self.batches.append(batch)

    @property
    def seq(self) -> int:
        return max(batch.seq_last for batch in self.batches)

    @property
    def middle(self) -> int:
        return self.batches[len(self.batches) // 2].seq_last

    def host(self) -> StrategyHost:
        made = StrategyHost(
            [CONFIG],
            record=lambda _line: None,
            clock=ManualClock(),
            state_dir=None,
            on_stopped=lambda _name, _reason: None,
        )
        for number, definition in self.definitions.items():
            made.define(number, definition)
        return made

    def watcher(self, seq: int | None = None) -> StrategyHost:
        """One that was there from the beginning."""
        host = self.host()
        for batch in self.batches:
            if seq is None or batch.seq_last <= seq:
                host.warm(batch)
        return host

    def keep_image(self, seq: int) -> None:
        (self.directory / "mine.image").write_bytes(self.watcher(seq).image(seq))

    def warmup(self, *, seconds: int = 3_600, **more: Any) -> Warmup:
        clock = ManualClock(wall_ns=self.recv_ns)
        settings: dict[str, Any] = {
            "clock": clock,
            "wait": lambda seconds: moved(clock, seconds),
            "raw_log": self.directory / "raw",
            "image": self.directory / "mine.image",
        }
        return Warmup(self.host, seconds=seconds, **settings | more)


def moved(clock: ManualClock, seconds: float) -> None:
    clock._mono_ns += round(seconds * 1e9)


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    made = Recorded(tmp_path)
    made.log.close()
    return made


def known(image: Image) -> tuple[Any, ...]:
    """What an image says of the market and the orders."""
    return image.seq, image.now_ns, sorted(image.books), image.orders, image.positions


def values(recorded: Recorded, host: StrategyHost) -> list[Any]:
    """Last trade, quote and top of every instrument."""
    last = host._dispatch.last
    found: list[Any] = []
    for number in recorded.definitions:
        trade, quote = last.trade(number), last.quote(number)
        assert trade is not None
        assert quote is not None
        found.append((trade.seq, trade.price, trade.size, trade.ts_recv_ns))
        found.append((quote.seq, quote.bid_price, quote.ask_size, last.top(number)))
    return found


def finished(warmup: Warmup, seq: int) -> tuple[Image, Warmth]:
    content, pieces, warmth = warmup.finish(seq)
    assert joined(pieces) == content
    image = unpack(content)
    assert (warmth.known_from, warmth.to) == (image.known_from, seq)
    return image, warmth


@pytest.mark.parametrize("with_image", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_warm_is_as_if_it_had_been_there(
    recorded: Recorded, steps: int, *, with_image: bool
) -> None:
    if with_image:
        recorded.keep_image(recorded.middle)
    warmup = recorded.warmup()
    for number in range(1, steps):
        half = len(recorded.batches) // 2
        warmup.advance(recorded.batches[half + half * number // steps].seq_last)
    image, warmth = finished(warmup, recorded.seq)
    there = unpack(recorded.watcher().image(recorded.seq))
    assert known(image) == known(there)
    assert len(image.books) == 1
    assert image.positions[0].size == 5 * MESSAGES // 100
    assert warmth.from_image is with_image
    assert warmth.notes == (() if with_image else ("no image was kept: the raw log alone",))
    mine = recorded.host()
    mine.restore(pack(image))
    assert values(recorded, mine) == values(recorded, recorded.watcher())


def test_the_image_saves_reading_what_it_holds(recorded: Recorded) -> None:
    recorded.keep_image(recorded.middle)
    _, warmth = finished(recorded.warmup(), recorded.seq)
    behind = sum(len(batch) for batch in recorded.batches if batch.seq_first > recorded.middle)
    assert warmth.events == behind


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-1], lambda _: b"", lambda data: data.replace(b"1", b"2", 1)]
)
def test_a_spoilt_image_is_passed_over(recorded: Recorded, spoil: Callable[[bytes], bytes]) -> None:
    recorded.keep_image(recorded.middle)
    path = recorded.directory / "mine.image"
    path.write_bytes(spoil(path.read_bytes()))
    image, warmth = finished(recorded.warmup(), recorded.seq)
    assert (warmth.from_image, len(warmth.notes)) == (False, 1)
    assert "damaged" in warmth.notes[0]
    assert known(image) == known(unpack(recorded.watcher().image(recorded.seq)))


def test_an_image_from_the_future_is_passed_over(recorded: Recorded) -> None:
    later = recorded.seq + (9 << 16)
    (recorded.directory / "mine.image").write_bytes(recorded.watcher().image(later))
    image, warmth = finished(recorded.warmup(), recorded.seq)
    assert not warmth.from_image
    assert "newer than the raw log" in warmth.notes[0]
    assert known(image) == known(unpack(recorded.watcher().image(recorded.seq)))


def test_no_more_is_read_than_the_bound_says(recorded: Recorded) -> None:
    """The image and the book lie before it: what is younger is known all the same."""
    recorded.keep_image(recorded.batches[3].seq_last)
    image, warmth = finished(recorded.warmup(seconds=1), recorded.seq)
    assert warmth.notes == ("the image is older than what is read of the raw log",)
    assert 0 < warmth.events < sum(map(len, recorded.batches)) // 2
    assert image.known_from > recorded.middle
    assert image.books == ()
    mine = recorded.host()
    mine.restore(pack(image))
    younger = values(recorded, mine)
    assert younger[0] == values(recorded, recorded.watcher())[0]


def test_without_a_raw_log_it_begins_with_nothing(tmp_path: Path, recorded: Recorded) -> None:
    recorded.keep_image(recorded.middle)
    warmup = recorded.warmup(raw_log=tmp_path / "elsewhere")
    image, warmth = finished(warmup, 77 << 16)
    assert warmth == Warmth(known_from=77 << 16, to=77 << 16, notes=("there is no raw log",))
    assert known(image) == (77 << 16 | 0xFFFF, 0, [], b"", ())


def test_behind_damage_it_goes_on_without_books(recorded: Recorded) -> None:
    segments = sorted((recorded.directory / "raw" / "segments").iterdir())
    assert len(segments) > 3
    content = bytearray(segments[2].read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    segments[2].write_bytes(content)
    image, warmth = finished(recorded.warmup(), recorded.seq)
    assert any("damaged stretches" in note for note in warmth.notes)
    assert (image.known_from, image.books) == (recorded.seq, ())
    assert image.now_ns == unpack(recorded.watcher().image()).now_ns


def test_a_log_that_cannot_be_read_leaves_it_colder(recorded: Recorded) -> None:
    segments = sorted((recorded.directory / "raw" / "segments").iterdir())
    segments[-1].unlink()
    segments[-1].mkdir()
    image, warmth = finished(recorded.warmup(), recorded.seq)
    assert "cannot be read" in warmth.notes[-1]
    assert (image.known_from, image.books) == (recorded.seq, ())


def test_frames_that_never_come_are_not_waited_for_forever(recorded: Recorded) -> None:
    clock = ManualClock(wall_ns=recorded.recv_ns)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        moved(clock, seconds)

    later = recorded.seq + (5 << 16)
    image, warmth = finished(recorded.warmup(clock=clock, wait=wait), later)
    assert sum(waits) == pytest.approx(strategy_warmup.WRITTEN_S_MAX, abs=0.1)
    assert "newest frames are not in the raw log" in warmth.notes[-1]
    assert (image.known_from, image.books) == (later, ())


def test_frames_that_are_on_their_way_are_waited_for(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, 200)
    image, warmth = finished(
        recorded.warmup(wait=lambda _seconds: recorded.log.close()), recorded.seq
    )
    assert warmth.notes == ("no image was kept: the raw log alone",)
    assert known(image) == known(unpack(recorded.watcher().image(recorded.seq)))


def test_reading_has_an_end(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategy_warmup, "READ_S_MAX", -1)  # over before it begins
    image, warmth = finished(recorded.warmup(), recorded.seq)
    assert "reading takes longer than -1 s" in warmth.notes
    assert image.known_from == recorded.seq


def test_a_new_definition_in_between_has_its_own_values(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, again_at=MESSAGES * 3 // 4)
    recorded.log.close()
    both = dict(recorded.definitions)
    assert len(both) == 2
    recorded.keep_image(recorded.middle)
    warmup = recorded.warmup()
    recorded.definitions = dict(list(both.items())[:1])
    warmup.advance(recorded.middle)
    recorded.definitions = both
    for number, definition in both.items():
        warmup.define(number, definition)
    image, warmth = finished(warmup, recorded.seq)
    assert warmth.from_image
    assert known(image) == known(unpack(recorded.watcher().image(recorded.seq)))


@pytest.mark.parametrize("kept", [True, False])
def test_what_is_too_much_for_the_record_is_left_out(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, *, kept: bool
) -> None:
    """First the books, then everything."""
    smaller = recorded.watcher() if kept else recorded.host()
    fits = len(zlib.compress(smaller.image(recorded.seq, books=False), 1))
    monkeypatch.setattr(images, "RECORDED_BYTES_MAX", fits + 8)
    image, warmth = finished(recorded.warmup(), recorded.seq)
    assert all("recorded" in note for note in warmth.notes[1:])
    assert (len(warmth.notes), image.books) == (2 if kept else 3, ())
    assert bool(image.positions) is kept
    assert (image.known_from == recorded.seq) is not kept


def test_no_image_is_kept_while_a_book_waits_for_its_snapshot(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, 700)
    recorded.log.close()
    waiting = recorded.host()
    for batch in recorded.batches[3:]:  # behind the snapshot
        waiting.warm(batch)
    assert waiting.has_waiting_books
    path = tmp_path / "kept" / "mine.image"
    path.parent.mkdir()
    file = ImageFile(path, ManualClock())
    for _ in range(SKIPPED_MAX + 1):
        assert not path.exists()
        file.keep(waiting, recorded.seq)
    file.close()
    assert unpack(path.read_bytes()).books == ()


def test_a_disk_that_takes_no_image_stops_nobody(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, 100)
    recorded.log.close()
    file = ImageFile(tmp_path / "missing" / "mine.image", ManualClock())
    file.keep(recorded.watcher(), recorded.seq)
    file.close()
    assert not (tmp_path / "missing").exists()


class Slow:
    """A clock on which taking an image takes half a second."""

    def __init__(self) -> None:
        self.now_ns = 0

    def mono_ns(self) -> int:
        self.now_ns += 500_000_000
        return self.now_ns

    def wall_ns(self) -> int:
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


def test_images_take_no_more_than_their_share_of_the_time(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, 100)
    recorded.log.close()
    clock, path = Slow(), tmp_path / "mine.image"
    file, kept = ImageFile(path, clock), []
    for _ in range(3 * SHARE):
        file.keep(recorded.watcher(), recorded.seq)
        if file._writing is not None:
            file._writing.result()
        if path.exists():
            kept.append(clock.now_ns)
            path.unlink()
    file.close()
    assert len(kept) == 4
    assert all(later - one >= SHARE * 500_000_000 for one, later in pairwise(kept))
