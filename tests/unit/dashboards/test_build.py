"""The committed JSON is what the code gives, and PromQL gets its scope."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboards import build
from dashboards.promql import scoped

SCOPE = 'job=~"$job",instance=~"$instance"'


def test_committed_json_is_what_the_code_gives() -> None:
    assert build.differing() == [], "run: python -m dashboards.build"


def test_drift_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "GENERATED", tmp_path)
    assert build.main(["--check"]) == 1
    assert "overview.json" in capsys.readouterr().err
    (tmp_path / "left_over.json").write_text("{}")
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0
    overview = tmp_path / "overview.json"
    overview.write_text(overview.read_text().replace("Gaps", "Gapz"))
    assert build.differing() == ["overview.json"]
    assert build.main(["--frobnicate"]) == 2


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("sum(tickd_a_total)", f"sum(tickd_a_total{{{SCOPE}}})"),
        ('up{x="1"} and up', f'up{{{SCOPE},x="1"}} and up{{{SCOPE}}}'),
        (
            "rate(tickd_gateway_x{venue}[$__range])",
            f'rate(tickd_gateway_x{{{SCOPE},venue=~"$venue"}}[$__range])',
        ),
        (
            "slo:sli_error:ratio_rate5m{slo}",
            f'slo:sli_error:ratio_rate5m{{{SCOPE},slo=~"$slo"}}',
        ),
        ("slo:objective:ratio{slo}", 'slo:objective:ratio{slo=~"$slo"}'),
        ("max by (slo) (vector(1))", "max by (slo) (vector(1))"),
        ("process_cpu_seconds_total{}", f"process_cpu_seconds_total{{{SCOPE}}}"),
        ('up{name="tickd_a_total"}', f'up{{{SCOPE},name="tickd_a_total"}}'),
    ],
)
def test_names_get_the_scope(written: str, wanted: str) -> None:
    assert scoped(written) == wanted
