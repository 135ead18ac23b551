"""The last run of verify of each mode is kept and shown; what cannot be kept disturbs nobody."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from recorder.verify.report import VerifyReport
from tickd.app.verified import Run, declare_verified, note_run, read_runs
from tickd.telemetry.metrics import Metrics

NOW_NS = 1_795_219_200_500_000_000


def shown(state_dir: Path) -> dict[tuple[str, str], float]:
    metrics = Metrics()
    declare_verified(metrics, state_dir)
    return {
        (sample.name.removeprefix("tickd_recorder_verify_"), sample.labels["kind"]): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if "verify" in sample.name
    }


def test_the_last_run_of_each_mode_is_shown(tmp_path: Path) -> None:
    assert shown(tmp_path) == {}
    note_run(tmp_path, VerifyReport(findings_count=7), wall_ns=1)
    note_run(tmp_path, VerifyReport(mode="sql", unchecked=["why"]), wall_ns=NOW_NS)
    note_run(tmp_path, VerifyReport(), wall_ns=NOW_NS)
    assert shown(tmp_path) == {
        ("timestamp_seconds", "deep"): NOW_NS / 1e9,
        ("timestamp_seconds", "sql"): NOW_NS / 1e9,
        ("findings", "deep"): 0,
        ("findings", "sql"): 0,
        ("unchecked", "deep"): 0,
        ("unchecked", "sql"): 1,
    }


def test_a_directory_that_is_not_there_and_a_damaged_file_are_no_runs(tmp_path: Path) -> None:
    note_run(tmp_path / "none", VerifyReport(), wall_ns=1)
    assert not (tmp_path / "none").exists()
    (tmp_path / "verified.json").write_text('{"deep": 3}')
    assert read_runs(tmp_path) == {}
    note_run(tmp_path, VerifyReport(findings_count=2), wall_ns=5)
    assert read_runs(tmp_path) == {"deep": Run(ended_ns=5, findings=2, unchecked=0)}
