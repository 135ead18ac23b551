"""How long a strategy takes to get warm: reading the raw log, taking an image, beginning with one.

Method: a raw log of the simulated market in one segment. A warm-up over all of it, the same again
when the image holds everything (which is decoded, but no news), and the image of what came of it:
taken, made ready for the record, taken back. Another look at the segment while it is live, as a
start takes several: with nothing new in it. CPU time, the least of all rounds.

Run: python benchmarks/bench_strategy_warmup.py [--rounds 10] [--messages 200000] [--symbols 20]
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import harness
from harness import Cost, Figure, least
from recorded import record

from strategy_runner.config import StrategyConfig
from strategy_runner.image import pieces, unpack
from strategy_runner.runner import StrategyHost
from tickd.app.strategy_warmup import Warmup
from tickd.clock import SystemClock
from tickd.events import LEVEL, SEQ_INDEX_BITS
from tickd.native import Decoder, RawLogReader, segment_info

MESSAGES = 200_000
SYMBOLS = 20


class World:
    """A raw log, and hosts that know its instruments."""

    def __init__(self, directory: Path, messages: int, symbols: int) -> None:
        self.directory = directory
        self.bytes = record(directory / "raw", messages=messages, symbols=symbols, rate=1_000)
        decoder = Decoder()
        for _, chunk in RawLogReader(str(directory / "raw")):
            self.frame = decoder.decode(chunk).frame_last
        self.definitions = decoder.instruments()

    def host(self) -> StrategyHost:
        made = StrategyHost(
            [StrategyConfig(name="bench", class_="nowhere:Bench")],
            record=lambda _line: None,
            clock=SystemClock(),
            state_dir=None,
            on_stopped=lambda _name, _reason: None,
        )
        for number, definition in self.definitions:
            made.define(number, definition)
        return made

    def warmup(self) -> Warmup:
        return Warmup(
            self.host,
            raw_log=self.directory / "raw",
            image=self.directory / "bench.image",
            seconds=1 << 20,
            clock=SystemClock(),
            wait=time.sleep,
        )

    def warm(self) -> tuple[bytes, int]:
        """Return the image that a start comes to, and the events that were read."""
        image, _, warmth = self.warmup().finish(self.frame << SEQ_INDEX_BITS)
        return image, warmth.events

    def unseal(self) -> float:
        """Make the newest segment a live one again; return its megabytes."""
        path = max((self.directory / "raw" / "segments").iterdir())
        content = path.read_bytes()[: segment_info(str(path))["data_bytes"]]
        path.with_name(f"{path.name}.open").write_bytes(content)
        path.unlink()
        return len(content) / 1e6


def measured(work: Callable[[], object], units: int) -> Callable[[], Cost]:
    def case() -> Cost:
        began_ns = time.process_time_ns()
        work()
        return Cost(time.process_time_ns() - began_ns, units)

    return case


def figures(world: World, rounds: int) -> list[Figure]:
    image, events = world.warm()
    path = world.directory / "bench.image"
    kept = unpack(image)
    levels = sum(len(book.bids) + len(book.asks) for book in kept.books) // LEVEL.itemsize
    warm = world.host()
    warm.restore(image)
    ns = least({"read": measured(world.warm, events)}, min(rounds, 3))
    path.write_bytes(image)
    ns |= least(
        {
            "decode": measured(world.warm, events),
            "take": measured(warm.image, 1),
            "record": measured(lambda: pieces(image), 1),
            "restore": measured(lambda: world.host().restore(image), 1),
        },
        rounds,
    )
    live_mb = world.unseal()
    looking = world.warmup()
    looking.advance(world.frame << SEQ_INDEX_BITS)
    again = measured(lambda: looking.advance(world.frame + 1 << SEQ_INDEX_BITS), 1)
    ns |= least({"look": again}, rounds)
    about = f"{len(kept.books)} books, {levels:,} levels, {len(image):,} bytes"
    return [
        Figure("warmup.read", ns["read"], "ns", f"per event, of {events:,} from the raw log"),
        Figure("warmup.decode", ns["decode"], "ns", "per event, where the image has them all"),
        Figure("warmup.look", ns["look"] / 1e6, "ms", f"again, live segment of {live_mb:.0f} MB"),
        Figure("warmup.take", ns["take"] / 1e6, "ms", f"an image of {about}"),
        Figure("warmup.record", ns["record"] / 1e6, "ms", "it in pieces for the raw log"),
        Figure("warmup.size", sum(map(len, pieces(image))) / 1e3, "kB", "on record"),
        Figure("warmup.restore", ns["restore"] / 1e6, "ms", "a host that begins with it"),
    ]


def main() -> None:
    parser = harness.arguments(__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--symbols", type=int, default=SYMBOLS)
    options = parser.parse_args()
    harness.refuse_debug_build()
    with tempfile.TemporaryDirectory(prefix="tickd-bench-") as directory:
        world = World(Path(directory), options.messages, options.symbols)
        harness.show(figures(world, options.rounds), as_json=options.json)


if __name__ == "__main__":
    main()
