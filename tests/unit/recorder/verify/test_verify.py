"""verify on a whole log, then with one fault planted: it finds exactly that fault."""

from __future__ import annotations

import json

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.endpoint import Endpoint
from recorder.config import ClickHouseConfig
from recorder.sink.plan import Plan
from recorder.verify.report import Kind
from recorder.verify.verify import verify
from tests.harness.stored_log import NODE, StoredLog
from tickd.native import EVENT_TABLES, xxh3_hex
from tickd.testing.wire_log import WireLog

pytestmark = [pytest.mark.embedded]

SYNC = "SETTINGS mutations_sync = 1"


class Counting(ClickHouse):
    """Says how many questions it was asked."""

    questions = 0

    async def query(self, *args, **options):
        self.questions += 1
        return await super().query(*args, **options)


@pytest.fixture
async def log(endpoint, database, tmp_path):
    client = Counting(ClickHouseConfig(database=database), lambda: endpoint)
    log = StoredLog(tmp_path, client)
    for seed in (11, 12, 13):  # a segment or more each
        log.write(seed, bursts=20)
    yield log
    await client.close()


def only(report):
    assert len(report.findings) == 1, report.findings
    return report.findings[0]


async def test_a_whole_log_has_no_finding_and_its_totals_add_up(log):
    log.crash(2, bursts=10)
    log.write(3, bursts=30)
    await log.store()
    report = await log.verify()
    assert report.findings == []
    assert report.ok
    numbers, frames = report.numbers, report.frames
    assert numbers.announced == (1 << 24) - 1
    assert numbers.all == numbers.recorded + numbers.announced
    assert frames.all == numbers.recorded == report.checked.records
    assert frames.all == frames.with_rows + sum(frames.without_rows.values())
    assert frames.without_rows["control.instrument"] == 15
    assert "unexplained" not in frames.without_rows
    for totals in report.tables.values():
        assert (totals.raw_log or 0) == totals.stored
    assert report.tables["trades"].stored > 1_000
    assert report.segments.sealed > 3
    assert report.checked.chunks > 10
    assert report.checked.bars > 0


async def test_questions_do_not_grow_with_the_number_of_segments(log):
    """A node that was killed often has many segments, and no more rows for it."""
    await log.store()
    log.clickhouse.questions = 0
    few = await log.verify()
    asked = log.clickhouse.questions
    for seed in range(20, 25):
        log.write(seed, bursts=1, frames=10)
    await log.store((few.numbers.last + 1) << 16)
    log.clickhouse.questions = 0
    many = await log.verify()
    assert few.ok
    assert many.ok
    assert many.checked.segments >= few.checked.segments + 5
    assert log.clickhouse.questions == asked


# Too small for a second segment, or for the question itself.
LIMITS = {
    "recorder.verify.verify._SEGMENTS_MAX": 1,
    "recorder.verify.verify._ROWS_MAX": 1,
    "recorder.verify.verify._BATCH_NS": 0,
    "recorder.verify.figures._RANGES_MAX": 0,
}


@pytest.mark.timeout(120)  # five runs, those with small limits of many questions each
async def test_faults_are_the_same_however_many_segments_a_question_is_about(log, monkeypatch):
    """Missing and doubled rows in different segments, and a stretch that is left out."""
    await log.store()
    first = await log.number("SELECT min(seq) FROM {t}quotes")
    last = await log.number("SELECT max(seq) FROM {t}quotes")
    await log.command(f"ALTER TABLE {{t}}quotes DELETE WHERE seq = {first} {SYNC}")
    await log.command(
        f"INSERT INTO {{t}}quotes SELECT * FROM {{t}}quotes WHERE seq = {last}"
        " SETTINGS deduplicate_insert = 'disable', insert_deduplicate = 0"
    )
    middle = await log.number("SELECT quantileExact(seq) FROM {t}trades")
    plan = Plan(log.state / "sink" / "plan.jsonl")
    plan.spill("trades", middle, middle + 5, "a test")
    plan.close()
    log.clickhouse.questions = 0
    together = await log.verify()
    asked = log.clickhouse.questions
    assert together.kinds() == [Kind.ROWS_MISSING, Kind.ROWS_TWICE]
    assert {found.where for found in together.findings} < {path.name for path in log.segments}
    assert len(together.pending) == 1
    for name, limit in LIMITS.items():
        with monkeypatch.context() as patch:
            patch.setattr(name, limit)
            log.clickhouse.questions = 0
            assert await log.verify() == together, name
            assert log.clickhouse.questions > asked, name


async def test_frames_that_give_no_rows_have_a_class_each(log):
    """Acknowledgements, messages that nobody can read, replies that nobody asked for."""
    raw = WireLog(log.raw, seed=4, segment_bytes_max=60_000)
    raw.burst(50)
    connection = raw._connection
    for payload in (b'{"result":null,"id":1}', b"{not json", b"\xff\xfe", b'{"stream":"x"'):
        raw.raw_log.frame(connection, payload)
    raw.raw_log.record(0, "R", b"GET /fapi/v1/exchangeInfo 200\n{}")
    raw.raw_log.record(0, "C", b'{"kind":"clock"}')
    raw.raw_log.record(0, "C", b'{"kind":"stop"}')
    raw.burst(50)
    raw.close()
    await log.store()
    report = await log.verify()
    assert report.findings == []
    silent = report.frames.without_rows
    assert silent["acks"] == 1
    assert silent["rest_ignored"] == 1
    assert silent["control.stop"] == 1
    assert silent["kind_without_table"] == 1  # the clock's event
    assert sum(count for name, count in silent.items() if name.startswith("refused.")) == 3
    assert report.frames.all == report.frames.with_rows + sum(silent.values())


async def test_deleted_rows_are_missing_and_named(log):
    await log.store()
    gone = {}
    for table in ("quotes", "book", "states"):
        gone[table] = seq = await log.number(
            f"SELECT seq FROM {{t}}{table} ORDER BY seq LIMIT 1 OFFSET 2"
        )
        await log.command(f"ALTER TABLE {{t}}{table} DELETE WHERE seq = {seq} {SYNC}")
    report = await log.verify()
    assert report.kinds() == [Kind.ROWS_MISSING]
    assert {found.table: found.seq_from for found in report.findings} == gone
    for found in report.findings:
        assert (found.count, found.seq_to) == (1, found.seq_from)
        assert found.where in {path.name for path in log.segments}


async def test_a_deleted_trade_leaves_bars_that_are_too_large(log):
    await log.store()
    seq = await log.number("SELECT seq FROM {t}trades ORDER BY seq LIMIT 1 OFFSET 7")
    await log.command(f"ALTER TABLE {{t}}trades DELETE WHERE seq = {seq} {SYNC}")
    report = await log.verify()
    assert set(report.kinds()) == {Kind.ROWS_MISSING, Kind.BARS_DIFFER}
    wrong = [found for found in report.findings if found.kind is Kind.BARS_DIFFER]
    assert {found.where for found in wrong} >= {"ohlcv_1m"}
    assert {found.count for found in wrong} == {1}


async def test_a_doubled_row_is_there_twice_and_named(log):
    await log.store()
    seq = await log.number("SELECT seq FROM {t}quotes ORDER BY seq LIMIT 1 OFFSET 33")
    await log.command(
        f"INSERT INTO {{t}}quotes SELECT * FROM {{t}}quotes WHERE seq = {seq}"
        " SETTINGS deduplicate_insert = 'disable', insert_deduplicate = 0"
    )
    found = only(await log.verify())
    assert (found.kind, found.count, found.seq_from) == (Kind.ROWS_TWICE, 1, seq)


async def test_altered_rows_differ_and_are_named(log):
    """One column each, also one that is neither a price nor a size."""
    await log.store()
    altered = []
    for place, column in enumerate(("bid_size", "flags", "price_scale", "ts_event")):
        seq = await log.number(f"SELECT seq FROM {{t}}quotes ORDER BY seq LIMIT 1 OFFSET {place}")
        altered.append(seq)
        await log.command(
            f"ALTER TABLE {{t}}quotes UPDATE {column} = {column} + 1 WHERE seq = {seq} {SYNC}"
        )
    found = only(await log.verify())
    assert (found.kind, found.count) == (Kind.ROWS_DIFFER, 4)
    assert (found.seq_from, found.seq_to) == (altered[0], altered[-1])


async def test_two_rows_that_exchanged_their_prices_differ(log):
    """Every sum over the table stays as it was."""
    await log.store()
    rows = await log.clickhouse.query(
        f"SELECT seq, bid_price FROM {log.clickhouse.database}.quotes ORDER BY seq LIMIT 2 OFFSET 9"
    )
    (first, price), (second, other) = ((int(a), int(b)) for a, b in rows)
    await log.command(
        f"ALTER TABLE {{t}}quotes UPDATE bid_price = if(seq = {first}, {other}, {price})"
        f" WHERE seq IN ({first}, {second}) {SYNC}"
    )
    found = only(await log.verify())
    assert (found.kind, found.count) == (Kind.ROWS_DIFFER, 2)


async def copy_row(log, of, **columns):
    replaced = ", ".join(f"{value} AS {name}" for name, value in columns.items())
    await log.command(
        f"INSERT INTO {{t}}quotes SELECT * REPLACE({replaced}) FROM"
        f" (SELECT * FROM {{t}}quotes WHERE seq = {of})"
    )


async def test_a_row_whose_number_no_event_has_is_an_orphan(log):
    await log.store()
    seq = await log.number("SELECT seq FROM {t}quotes ORDER BY seq LIMIT 1 OFFSET 55")
    await copy_row(log, seq, seq=f"toUInt64({seq + 9})")
    found = only(await log.verify())
    assert (found.kind, found.count, found.seq_from) == (Kind.ROWS_ORPHANED, 1, seq + 9)


async def test_a_row_above_the_end_of_the_log_is_an_orphan(log):
    await log.store()
    seq = await log.number("SELECT max(seq) FROM {t}quotes")
    await copy_row(log, seq, seq=f"toUInt64({seq + (1 << 40)})")
    found = only(await log.verify())
    assert (found.kind, found.seq_from) == (Kind.ROWS_ORPHANED, seq + (1 << 40))
    assert "above the end" in found.text


async def test_a_row_of_another_week_is_an_orphan(log):
    await log.store()
    seq = await log.number("SELECT seq FROM {t}quotes ORDER BY seq LIMIT 1 OFFSET 5")
    await copy_row(log, seq, seq=f"toUInt64({seq + 1})", ts_recv="ts_recv - INTERVAL 7 DAY")
    found = only(await log.verify())
    assert (found.kind, found.count, found.table) == (Kind.ROWS_ORPHANED, 1, "quotes")


async def test_rows_of_a_node_that_nobody_knows_are_named(log):
    await log.store()
    seq = await log.number("SELECT max(seq) FROM {t}quotes")
    await copy_row(log, seq, node="toUInt16(77)")
    found = only(await log.verify())
    assert found.kind is Kind.NODE_UNKNOWN
    assert "node 77" in found.text


async def test_a_flipped_bit_in_a_chunk_is_that_segment_s_damage_alone(log):
    """In the middle of the second segment: the rest is compared, conclusions behind it are not."""
    await log.store()
    path = log.segments[1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    report = await log.verify()
    found = only(report)
    assert (found.kind, found.where) == (Kind.SEGMENT_DAMAGED, path.name)
    assert report.numbers.missing > 0
    whole = report.numbers.all - report.numbers.missing
    assert report.numbers.recorded == whole == report.frames.all


async def test_a_flipped_bit_in_the_first_chunk_of_all_is_that_damage_alone(log):
    """Instruments and connections are gone with it: nothing of the segment can be decoded."""
    await log.store()
    path = log.segments[0]
    heads = path.read_bytes()
    at = heads.index(b"\x28\xb5\x2f\xfd") + 40
    path.write_bytes(heads[:at] + bytes([heads[at] ^ 1]) + heads[at + 1 :])
    report = await log.verify()
    assert (only(report).kind, only(report).where) == (Kind.SEGMENT_DAMAGED, path.name)
    assert report.frames.without_rows["not_decodable"] > 0
    assert report.tables["quotes"].stored > 0


async def test_damage_that_was_set_aside_is_quarantine_and_no_finding(log):
    await log.store()
    path = log.segments[-1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    log.write(21, bursts=3)  # its start copies the damage and announces the frames
    before = await log.number("SELECT count() FROM {t}quotes")
    for block in log.blocks(int(log.segments[-1].name[:20]) << 16):
        await log.clickhouse.insert_block(block, f"later-{block.table}-{block.day}")
    assert await log.number("SELECT count() FROM {t}quotes") > before
    report = await log.verify()
    assert report.findings == []
    assert report.numbers.quarantined > 0
    assert report.numbers.missing == 0


async def test_a_row_lost_behind_damage_is_still_found(log):
    await log.store()
    path = log.segments[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    second = int(log.segments[1].name[:20])
    seq = await log.number(f"SELECT max(seq) FROM {{t}}quotes WHERE seq < {second << 16}")
    await log.command(f"ALTER TABLE {{t}}quotes DELETE WHERE seq = {seq} {SYNC}")
    report = await log.verify()
    assert set(report.kinds()) == {Kind.SEGMENT_DAMAGED, Kind.ROWS_MISSING}


async def test_a_missing_segment_is_missing_and_its_rows_are_no_orphans(log):
    await log.store()
    path = log.segments[1]
    path.unlink()
    report = await log.verify()
    found = only(report)
    assert (found.kind, found.where) == (Kind.SEGMENT_MISSING, path.name)
    assert report.numbers.missing > 0


async def test_what_waits_in_the_plan_is_pending_and_no_loss(log):
    sink = log.state / "sink"
    planned = await log.store()
    blocks = {block.table: block for block in planned}
    plan = Plan(sink / "plan.jsonl")
    plan.plan([blocks["quotes"]], blocks["quotes"].seq_to)
    book = blocks["book"]
    plan.spill("book", book.seq_from, book.seq_to, "the spool is full")
    plan.close()
    for table in ("quotes", "book"):
        await log.command(f"TRUNCATE TABLE {{t}}{table}")
    report = await log.verify()
    assert report.findings == []
    assert {(entry.table, entry.state) for entry in report.pending} == {
        ("quotes", "planned"),
        ("book", "spilled"),
    }
    assert report.tables["quotes"].pending == blocks["quotes"].rows


async def test_rows_missing_beside_a_pending_range_are_still_found(log):
    planned = {block.table: block for block in await log.store()}
    quotes = planned["quotes"]
    plan = Plan(log.state / "sink" / "plan.jsonl")
    middle = (quotes.seq_first + quotes.seq_last) // 2
    plan.spill("quotes", middle, quotes.seq_to, "the spool is full")
    plan.close()
    await log.command(f"ALTER TABLE {{t}}quotes DELETE WHERE seq >= {middle} {SYNC}")
    assert (await log.verify()).findings == []
    await log.command(f"ALTER TABLE {{t}}quotes DELETE WHERE seq = {quotes.seq_first} {SYNC}")
    found = only(await log.verify())
    assert (found.kind, found.count, found.seq_from) == (Kind.ROWS_MISSING, 1, quotes.seq_first)


async def test_a_table_that_was_emptied_is_missing_per_segment(log):
    planned = {block.table: block for block in await log.store()}
    await log.command("TRUNCATE TABLE {t}quotes")
    report = await log.verify()
    assert report.kinds() == [Kind.ROWS_MISSING]
    assert sum(found.count for found in report.findings) == planned["quotes"].rows


async def test_beside_a_live_daemon_only_what_is_settled_is_compared(log):
    """Rows beyond it are neither missing nor orphans; rows beyond the log's end are."""
    await log.store()
    middle = await log.number("SELECT intDiv(min(seq) + max(seq), 2) FROM {t}quotes") >> 16
    await log.command(f"ALTER TABLE {{t}}quotes DELETE WHERE seq > {middle + 900 << 16} {SYNC}")
    report = await log.verify(frame_to=middle)
    assert report.findings == []
    assert report.numbers.last == middle
    await copy_row(
        log, await log.number("SELECT max(seq) FROM {t}quotes"), seq=f"toUInt64({1 << 50})"
    )
    assert only(await log.verify(frame_to=middle)).kind is Kind.ROWS_ORPHANED


async def test_without_clickhouse_the_files_are_still_checked(log, tmp_path):
    gone = ClickHouse(ClickHouseConfig(), lambda: Endpoint("http://127.0.0.1:9"))
    report = await verify(log.raw, gone, node=NODE)
    await gone.close()
    assert report.findings == []
    assert not report.ok
    assert len(report.unchecked) == 1
    assert report.frames.all == report.checked.records > 0
    log.segments[0].unlink()
    report = await verify(log.raw, gone, node=NODE)
    await gone.close()
    assert report.kinds() == [Kind.SEGMENT_MISSING]


async def test_numbers_that_nothing_explains_are_missing_and_their_rows_orphans(log):
    """A segment without file and without a line in a chain that fits: no accident makes that."""
    await log.store()
    path = log.segments[1]
    manifest = log.raw / "MANIFEST.jsonl"
    lines = [json.loads(line) for line in manifest.read_bytes().splitlines()]
    (gone,) = (line for line in lines if line.get("segment") == path.name)
    rewrite(manifest, [line for line in lines if line is not gone])
    path.unlink()
    report = await log.verify()
    assert set(report.kinds()) == {Kind.FRAMES_MISSING, Kind.ROWS_ORPHANED}
    (missing,) = (found for found in report.findings if found.kind is Kind.FRAMES_MISSING)
    assert missing.seq_from >> 16 == gone["frame_first"]
    assert missing.seq_to >> 16 == gone["frame_last"]
    assert missing.count == report.numbers.missing


def rewrite(manifest, lines):
    """A chain that fits, over other lines: what an accident cannot make, but a hand can."""
    out, previous = [], "0" * 16
    for number, line in enumerate(lines):
        body = {key: value for key, value in line.items() if key not in ("prev", "sum", "line")}
        text = json.dumps({"line": number, **body, "prev": previous}, separators=(",", ":"))[:-1]
        previous = xxh3_hex(text.encode())
        out.append(f'{text},"sum":"{previous}"}}\n')
    manifest.write_text("".join(out))


def test_every_event_table_is_compared():
    assert set(EVENT_TABLES) == {
        *("trades", "quotes", "book", "marks", "liquidations", "states", "gaps")
    }
