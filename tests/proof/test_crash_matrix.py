"""`kill -9` at every step on a frame's way: append, fsync, rotate, seal, manifest, recovery, block
build, plan, send, acknowledgement, commit.

Method: a native module with places to die at (compiled for this test only) and wrapped system calls
in Python. The places are found in the sources and by a first life; each must be reached. A node
dies at one place after the other, each life recovers what the one before left, and in the end
nothing promised is missing, every hole has its gap record, and ClickHouse has each row once.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.clickhouse_server import ClickHouseServer, require
from tests.harness.crash import (
    NATIVE,
    Node,
    Nursery,
    drawn_seed,
    failpoint_module,
    prove_log,
    prove_rows,
)
from tests.reference.raw_log import read_records, read_segment
from tickd import _native

pytestmark = [pytest.mark.proof, pytest.mark.embedded, pytest.mark.timeout(900)]

PLACE = re.compile(r'failpoint(_write|_step)?!\(\s*"([a-z_.]+)"')
# What must come first for a place to be reached, where a plain life or start does not come by.
BEFORE = {
    "recover.quarantine": "raw.write=torn@7",
    "recover.seal": "raw.append.published=kill@9",
    "recover.empty": "raw.open.before_directory_sync=kill@1",
    "manifest.open": "manifest.append.write=torn@1",
}
# Places behind a failed sync: the order that makes it fail goes along.
WITH = {"raw.retire": "raw.fsync.before=eio@3"}
# Reached only where a file is damaged: in tests of their own.
DAMAGED, HEALED = "recover.patch", "scrub.heal"
# Passed once by a start, if at all.
ONCE = ("recover.", "manifest.open.")
# Only on the way to an orderly end.
ORDERLY_END = r"\.close\."
# Steps that a node with a server must come by, whatever the functions are called.
PYTHON_STEPS = (
    r"plan\.\w+\.write\.before",
    r"plan\.\w+\.fdatasync\.after",
    r"plan\._compact\.fsync\.before",
    r"plan\._compact\.replace\.(before|after)",
    r"clickhouse\.insert_block\.(before|after)",
    r"http\.write\w*\.after",
    r"sink\._collect\.before",
    r"plan\.commit\.(before|after)",
)


# The same for an outage and its end: spool, ledger, repair's journal.
OUTAGE_STEPS = (
    r"spool\.\w+\.pwrite\.before",
    r"spool\.\w+\.unlink\.before",
    r"journal\.\w+\.write\.before",
    r"journal\.\w+\.replace\.after",
)
# Whatever is further behind after an outage is left to repair, whose steps are to be reached too.
CLOSE_UP: dict[str, object] = {"close_up_frames_max": 50}
OUTAGE_S = 0.3


@pytest.fixture(scope="module")
def seed() -> int:
    return drawn_seed()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    require("embedded")
    with ClickHouseServer("embedded", tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery"), failpoint_module()) as nursery:
        yield nursery


def native_places() -> dict[str, bool]:
    """Every place in the native sources, and whether a write is torn there."""
    places: dict[str, bool] = {}
    for path in sorted((NATIVE / "io" / "src").glob("*.rs")):
        for kind, name in PLACE.findall(path.read_text()):
            assert name not in places, f"{name} is there twice"
            places[name] = kind == "_write"
    return places


def group_of(name: str) -> str:
    return ".".join(name.split(".")[:2])


def node_of(name: str, folder: Path, nursery: Nursery, server: ClickHouseServer) -> Node:
    database = re.sub(r"\W", "_", name)
    return Node(folder / name, nursery, clickhouse={**server.settings(), "database": database})


def outage(node: Node) -> None:
    """A life without ClickHouse, long enough to fill memory and spool; killed."""
    node.begin("", outage=True)
    node.wait_for(lambda said: said.behind > 0, timeout=60)
    time.sleep(OUTAGE_S)  # frames that nobody takes
    node.kill()


def orders(name: str, *, torn: bool, passes: int, dice: random.Random) -> Iterator[str]:
    """A death at the first pass of a place, at a later one if there is any, and in its write."""
    later = dice.randint(2, max(2, min(passes // 2, 40)))
    for action in ("kill", "torn") if torn else ("kill",):
        yield f"{name}={action}@1"
        if passes > 3 and not name.startswith(ONCE):
            yield f"{name}={action}@{later}"


@pytest.fixture(scope="module")
def passes(
    tmp_path_factory: pytest.TempPathFactory, nursery: Nursery, server: ClickHouseServer
) -> Counter[str]:
    """How often each place is passed by a life that ends in order and one behind a kill."""
    node = node_of("passes", tmp_path_factory.mktemp("passes"), nursery, server)
    node.dies_at("raw.append.published=kill@200")
    node.finish("")
    node.finish("")
    return Counter(node.passes())


def test_only_the_module_of_this_test_has_places_to_die_at() -> None:
    marks = [b"TICKD_FAILPOINTS", *(name.encode() for name in native_places() if "." in name)]
    built = failpoint_module().read_bytes()
    product = Path(_native.__file__).read_bytes()
    assert [mark for mark in marks if mark not in built] == []
    assert [mark for mark in marks if mark in product] == []


NATIVE_GROUPS = sorted({group_of(name) for name in native_places()} - {DAMAGED, HEALED})


@pytest.mark.parametrize("group", NATIVE_GROUPS)
def test_a_death_at_every_native_step_costs_nothing_promised(
    tmp_path: Path,
    nursery: Nursery,
    server: ClickHouseServer,
    passes: Counter[str],
    seed: int,
    group: str,
) -> None:
    dice = random.Random(f"{seed} {group}")
    node = node_of(group, tmp_path, nursery, server)
    node.dies_at("raw.append.published=kill@30")
    places = {name: torn for name, torn in native_places().items() if group_of(name) == group}
    for name, torn in places.items():
        for order in orders(name, torn=torn, passes=passes[name], dice=dice):
            if group in BEFORE:
                node.dies_at(BEFORE[group])
            node.dies_at(";".join(filter(None, (WITH.get(group), order))))
    node.finish("")
    assert set(places) <= set(node.passes())
    prove_log(node)
    prove_rows(node, server)


def test_a_death_at_every_python_step_costs_nothing_promised(
    tmp_path: Path, nursery: Nursery, server: ClickHouseServer, passes: Counter[str], seed: int
) -> None:
    # Repair's journal is written where there are doubts to look at: below, behind an outage.
    places = sorted(
        name for name in passes if name.startswith("py.") and not name.startswith("py.journal.")
    )
    for step in PYTHON_STEPS:
        assert any(re.fullmatch(rf"py\.{step}", name) for name in places), (
            f"no place like {step}: {sorted(places)}"
        )
    for group in sorted({group_of(name) for name in places}):
        dice = random.Random(f"{seed} {group}")
        node = node_of(group, tmp_path, nursery, server)
        for name in (name for name in places if group_of(name) == group):
            if re.search(ORDERLY_END, name):
                node.dies_at(f"{name}=kill@1", stopping=True)
                continue
            torn = name.endswith(".write.before")
            for order in orders(name, torn=torn, passes=passes[name], dice=dice):
                node.dies_at(order)
        node.finish("")
        prove_log(node)
        prove_rows(node, server)


def test_a_death_at_every_step_of_an_outage_and_its_end_costs_nothing_promised(
    tmp_path: Path, nursery: Nursery, server: ClickHouseServer
) -> None:
    """Spool put, re-drive, spill ledger, repair."""
    clickhouse = {**server.settings(), "database": "outage"}
    node = Node(tmp_path / "outage", nursery, clickhouse=clickhouse, sink=CLOSE_UP)
    outage(node)
    node.finish("")
    both = Counter(node.passes())
    places = {
        # Blocks are put while ClickHouse is away; everything else happens once it is back.
        name: name.startswith("py.spool._write.")
        for name in sorted(both)
        if name.startswith(("py.spool.", "py.journal.", "py.quarantine."))
    }
    for step in OUTAGE_STEPS:
        assert any(re.fullmatch(rf"py\.{step}", name) for name in places), (
            f"no place like {step}: {sorted(places)}"
        )
    for name, in_outage in places.items():
        for action in ("kill", "torn") if name.endswith("write.before") else ("kill",):
            if in_outage:
                node.finish()  # an empty spool
            else:
                outage(node)
            node.dies_at(f"{name}={action}@1", outage=in_outage)
    node.finish("")
    prove_log(node)
    prove_rows(node, server)


def test_a_death_while_damage_is_set_aside_loses_only_the_damaged_chunk(
    tmp_path: Path, nursery: Nursery
) -> None:
    """No server answers here: what a file rots away cannot be compared with what was sent."""
    places = [name for name in native_places() if group_of(name) == DAMAGED]
    places += [name for name in native_places() if group_of(name) == "recover.quarantine"]
    node = Node(tmp_path / "damage", nursery, clickhouse={"url": "http://127.0.0.1:9"})
    destroyed: list[tuple[int, int]] = []
    for name in places:
        node.dies_at("raw.append.published=kill@40", segment_bytes_max=1 << 20)
        destroyed.append(flip_a_bit_of(node))
        node.dies_at(f"{name}=kill@1")
    node.begin("")
    node.wait_for(lambda said: said.written >= said.frame_next + 100)
    node.kill()
    prove_log(node, damaged=tuple(destroyed))
    assert set(places) <= set(node.passes())


def flip_a_bit_of(node: Node, *, chunk: int = 20) -> tuple[int, int]:
    """Destroy one chunk of the live segment; return the frames in it."""
    (live,) = (node.raw / "segments").glob("*.open")
    data = bytearray(live.read_bytes())
    at, raw = read_segment(bytes(data)).chunks[chunk]
    data[at + 20] ^= 1
    live.write_bytes(data)
    assert len(read_segment(bytes(data)).chunks) == chunk, "the flipped bit carries nothing"
    records = read_records(raw)
    return records[0].frame_no, records[-1].frame_last


def test_a_death_while_a_lost_index_is_written_again_costs_nothing(
    tmp_path: Path, nursery: Nursery, server: ClickHouseServer
) -> None:
    node = node_of("heal", tmp_path, nursery, server)
    node.finish("")
    newest = max((node.raw / "segments").glob("*.tkraw"))
    whole = newest.read_bytes()
    for name in (name for name in native_places() if group_of(name) == HEALED):
        for action in ("kill", "torn"):
            with newest.open("r+b") as file:
                file.truncate(len(whole) - 50)
            node.dies_at(f"{name}={action}@1")
    node.finish("")
    assert newest.read_bytes() == whole
    prove_log(node)
    prove_rows(node, server)
