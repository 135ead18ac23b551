"""Retention: nothing goes that the store does not verifiably hold; a property, then examples."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.ship.config import ShipConfig
from recorder.ship.ledger import Segment, Shipment
from recorder.ship.retention import removable
from recorder.sink.plan import Plan
from tests.unit.recorder.ship.conftest import Yard
from tickd.events import SEQ_INDEX_BITS

DAY = 86_400 * 10**9
NOW = 1_000 * DAY
KEEP = ShipConfig(url="memory://", keep_days=7)


def shipment(name: str, digest: str = "a") -> Shipment:
    return Shipment(file=f"segments/{name}", bytes=10, hash=digest, url="u", key=name)


@st.composite
def histories(draw: st.DrawFn) -> list[Segment]:
    """Segments in the order of their frames, each in any state a manifest can tell of."""
    segments = []
    frame = 1
    for number in range(draw(st.integers(0, 12))):
        frames = draw(st.integers(1, 50))
        name = f"{frame:020d}-x"
        shipped = draw(st.sampled_from([None, shipment(name), shipment(name, "b")]))
        segments.append(
            Segment(
                name=name,
                bytes=draw(st.integers(1, 100)),
                data_hash="d",
                frame_first=frame,
                frame_last=frame + frames - 1,
                recv_first_ns=0,
                recv_last_ns=NOW - draw(st.integers(-2, 30)) * DAY,
                suspect=draw(st.booleans()) and number % 3 == 0,
                shipped=shipped,
                verified=draw(st.sampled_from([None, shipment(name), shipment(name, "b")])),
                removed=draw(st.sampled_from([None, None, None, shipment(name)])),
                restored_ns=draw(st.sampled_from([0, NOW - DAY])),
            )
        )
        frame += frames
    return segments


@given(
    histories(),
    st.data(),
    st.integers(0, 700),
    st.sampled_from([None, 0, 1, 7]),
    st.integers(0, 300),
    st.sampled_from([0, 1, 50, 10_000]),
)
def test_only_what_is_safe_unneeded_and_old_may_go(
    segments: list[Segment],
    data: st.DataObject,
    needed: int,
    keep_days: int | None,
    keep_bytes_min: int,
    reclaim: int,
) -> None:
    names = [segment.name for segment in segments]
    present = data.draw(st.sets(st.sampled_from(names))) if names else set()
    config = ShipConfig(url="memory://", keep_days=keep_days, keep_bytes_min=keep_bytes_min)
    runs = removable(
        segments,
        present,
        config=config,
        now_ns=NOW,
        frame_needed=needed,
        reclaim_bytes=reclaim,
    )
    assert runs == sorted(runs, key=lambda run: run[0].name)
    assert all(run == sorted(run, key=lambda each: each.name, reverse=True) for run in runs)
    gone = [segment for run in runs for segment in run]
    if keep_days is None:
        assert gone == []
        return
    stay = [each for each in segments if each.name in present and each not in gone]
    for segment in gone:
        assert segment.name in present
        assert segment.verified is not None
        assert segment.shipped is not None
        assert segment.verified.hash == segment.shipped.hash
        assert segment.frame_last < needed
        if not reclaim and segment.removed is None:
            assert NOW - segment.recv_last_ns >= keep_days * DAY
            assert NOW - segment.restored_ns >= keep_days * DAY
    # Decoding can begin somewhere: what stays starts with a checkpoint, and something stays.
    suspect_before = dict(zip(names[1:], (each.suspect for each in segments), strict=False))
    if present:
        heads = [each for each in stay if not suspect_before.get(each.name, False)]
        had_heads = [name for name in present if not suspect_before.get(name, False)]
        assert heads or not had_heads
    # At no moment is one here without the one that its decoding begins in.
    here = {each.name for each in segments if each.name in present}
    for segment in gone:
        here.remove(segment.name)
        behind = segments[names.index(segment.name) + 1 :][:1]
        assert not (segment.suspect and behind and behind[0].name in here)
    if not reclaim and keep_bytes_min and not any(each.removed for each in gone):
        newest = max((each.name for each in gone), default="")
        newer = [each.bytes for each in stay if each.name > newest]
        assert not gone or sum(newer) >= keep_bytes_min


def segment_of(number: int, **fields: object) -> Segment:
    name = f"{number * 10:020d}-x"
    known: dict[str, object] = {
        "name": name,
        "bytes": 100,
        "data_hash": "d",
        "frame_first": number * 10,
        "frame_last": number * 10 + 9,
        "recv_first_ns": 0,
        "recv_last_ns": number * DAY,
        "suspect": False,
        "shipped": shipment(name),
        "verified": shipment(name),
    }
    return Segment(**{**known, **fields})  # type: ignore[arg-type]


def names_of(segments: list[Segment]) -> list[int]:
    return [int(each.name[:20]) // 10 for each in segments]


def decide(segments: list[Segment], **fields: object) -> list[int]:
    arguments: dict[str, object] = {"config": KEEP, "now_ns": 12 * DAY, "frame_needed": 10**9}
    runs = removable(segments, {each.name for each in segments}, **{**arguments, **fields})  # type: ignore[arg-type]
    return names_of([segment for run in runs for segment in run])


def test_the_rule_by_example() -> None:
    days = [segment_of(number) for number in range(10)]
    assert decide(days) == [0, 1, 2, 3, 4, 5]
    assert decide(days, frame_needed=25) == [0, 1]
    assert decide(days, config=msgspec.structs.replace(KEEP, keep_bytes_min=650)) == [0, 1, 2]
    assert decide(days, reclaim_bytes=250) == [0, 1, 2]
    assert decide(days, reclaim_bytes=10**9) == list(range(9))  # the newest has the checkpoint
    assert decide(days, reclaim_bytes=250, frame_needed=15) == [0]
    assert decide(days, now_ns=-(10**18)) == []  # a clock that was set back removes nothing


def test_a_segment_without_a_checkpoint_keeps_the_one_before_it() -> None:
    days = [segment_of(number) for number in range(4)]
    days[1].suspect = True
    days[2].verified = None
    assert decide(days, now_ns=100 * DAY) == [0]
    days[2].verified = days[2].shipped
    assert decide(days, now_ns=100 * DAY) == [0, 2, 1]
    assert decide(days, now_ns=100 * DAY, reclaim_bytes=150) == [0, 2, 1]
    days[2].suspect = True  # now the newest begins in it
    assert decide(days, now_ns=100 * DAY) == [0]


@pytest.fixture
def keep(yard: Yard) -> ShipConfig:
    """Seven days, and a clock far behind them."""
    yard.clock.step_wall(10**18)
    return msgspec.structs.replace(yard.config, keep_days=7)


def settle(yard: Yard, frames: int = 10**9) -> None:
    """A sink whose every table is done up to a frame."""
    plan = Plan(yard.state_dir / "sink" / "plan.jsonl")
    plan.plan([], frames << SEQ_INDEX_BITS)
    plan.close()


async def test_what_is_verified_settled_and_old_goes_behind_its_line(
    yard: Yard, keep: ShipConfig
) -> None:
    await yard.shipper().run()
    settle(yard)
    names = [path.name for path in yard.segments()]
    done = await yard.retention(keep).run()
    assert done.segments == names[:-1]
    assert [path.name for path in yard.segments()] == names[-1:]
    assert {tuple(yard.kinds(name)) for name in names[:-1]} == {("shipped", "verified", "removed")}
    assert (await yard.retention(keep).run()).segments == []
    assert (await yard.shipper().run()).shipped == []


async def test_nothing_goes_that_the_sink_still_needs(yard: Yard, keep: ShipConfig) -> None:
    await yard.shipper().run()
    assert (await yard.retention(keep).run()).segments == []  # no plan: it may need everything
    second = [line for line in yard.lines() if line["kind"] == "sealed"][1]
    settle(yard, second["frame_last"] - 1)
    done = await yard.retention(keep).run()
    assert len(done.segments) == 1
    plan = Plan(yard.state_dir / "sink" / "plan.jsonl")
    plan.plan([], 10**9 << SEQ_INDEX_BITS)
    plan.spill("trades", second["frame_first"] << SEQ_INDEX_BITS, 1 << 62, "test")
    plan.close()
    assert (await yard.retention(keep).run()).segments == []


async def test_shipped_but_not_read_back_stays(yard: Yard, keep: ShipConfig) -> None:
    await yard.shipper(msgspec.structs.replace(yard.config, verify="size")).run()
    settle(yard)
    assert (await yard.retention(keep).run()).segments == []


async def test_the_store_is_asked_again_before_each(yard: Yard, keep: ShipConfig) -> None:
    await yard.shipper().run()
    settle(yard)
    first, second, *rest = yard.segments()
    await yard.bucket.delete(yard.keys.segment(first.name))
    key = yard.keys.segment(second.name)
    await yard.bucket.delete(key)
    await yard.bucket.create(key, bytes(second.stat().st_size))
    done = await yard.retention(keep).run()
    assert [(name, error.kind) for name, error in done.failures] == [
        (first.name, "missing"),
        (second.name, "different"),
    ]
    assert [path.name for path in yard.segments()] == [first.name, second.name, rest[-1].name]


async def test_another_version_with_the_same_bytes_is_as_good(yard: Yard, keep: ShipConfig) -> None:
    """Its e_tag differs: a copy, another encryption, a store that names versions anew."""
    await yard.shipper().run()
    settle(yard)
    first = yard.segments()[0]
    key = yard.keys.segment(first.name)
    before = await yard.bucket.stat(key)
    await yard.bucket.delete(key)
    await yard.bucket.create(key, first.read_bytes())
    after = await yard.bucket.stat(key)
    assert before is not None
    assert after is not None
    assert before.e_tag != after.e_tag
    assert first.name in (await yard.retention(keep).run()).segments


async def test_a_crash_between_line_and_removal_is_finished(yard: Yard, keep: ShipConfig) -> None:
    await yard.shipper().run()
    settle(yard)
    kept = {path.name: path.read_bytes() for path in yard.segments()}
    removed = (await yard.retention(keep).run()).segments
    (yard.folders.segments / removed[0]).write_bytes(kept[removed[0]])  # unlink never happened
    young = msgspec.structs.replace(keep, keep_days=10**6)
    assert (await yard.retention(young).run()).segments == removed[:1]
    assert yard.kinds(removed[0])[-1] == "removed"


async def test_without_keep_days_nothing_ever_goes(yard: Yard) -> None:
    await yard.shipper().run()
    settle(yard)
    yard.clock.step_wall(10**18)
    assert (await yard.retention(yard.config).run(reclaim_bytes=1 << 40)).segments == []
