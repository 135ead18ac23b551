"""The exposition text as OpenMetrics 1.0, with exemplars behind the buckets that were traced.

Pure: the text in Prometheus' own format in, the other out. It is asked for only where batches are
traced; without exemplars both formats say the same.
Source: OpenMetrics 1.0, "Exemplars" and "MetricFamily", read 2026-11-20.
"""

from __future__ import annotations

from typing import Final

from tickd.telemetry.exemplars import Exemplar, Exemplars

__all__ = ["CONTENT_TYPE_OPENMETRICS", "MEDIA_TYPE", "openmetrics_of"]

MEDIA_TYPE: Final = "application/openmetrics-text"
CONTENT_TYPE_OPENMETRICS: Final = f"{MEDIA_TYPE}; version=1.0.0; charset=utf-8"
_COUNTER: Final = " counter"
_LE: Final = '_bucket{le="'


def openmetrics_of(text: str, exemplars: Exemplars) -> str:
    """Return `text`, a whole exposition, as OpenMetrics.

    Args: `exemplars`: of histograms whose only label is `le`.
    """
    out: list[str] = []
    # The line "# HELP" waits for the type, which says what the family is called.
    helped = ""
    buckets: list[str] = []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped = line
            continue
        if line.startswith("# TYPE "):
            out += _head(helped, line)
            helped = ""
            continue
        if _LE in line:
            buckets.append(line)
            continue
        if buckets:
            out += _with_exemplars(buckets, exemplars)
            buckets = []
        out.append(line)
    out += _with_exemplars(buckets, exemplars)
    return "\n".join([*out, "# EOF", ""])


def _head(helped: str, typed: str) -> list[str]:
    """A counter's family lacks the `_total` that its series have; a quote is escaped in help."""
    name = typed.split(" ", 3)[2]
    family = name.removesuffix("_total") if typed.endswith(_COUNTER) else name
    description = helped.partition(f" {name} ")[2].replace('"', r"\"")
    head = [f"# TYPE {family} {typed.rpartition(' ')[2]}"]
    return [*head, f"# HELP {family} {description}"] if helped else head


def _with_exemplars(lines: list[str], exemplars: Exemplars) -> list[str]:
    """Bucket lines of one histogram, each with the last traced value of its interval."""
    if not lines:
        return lines
    metric = lines[0].partition("_bucket{")[0]
    bounds_ns = [round(float(line.split('"', 2)[1]) * 1e9) for line in lines[:-1]]
    found = exemplars.of(metric, bounds_ns)
    return [line + _shown(each) for line, each in zip(lines, found, strict=True)]


def _shown(exemplar: Exemplar | None) -> str:
    if exemplar is None:
        return ""
    wall_s = f"{exemplar.wall_ns // 10**9}.{exemplar.wall_ns // 10**6 % 1000:03d}"
    labels = ",".join(f'{name}="{value}"' for name, value in exemplar.labels.items())
    return f" # {{{labels}}} {exemplar.value_ns / 1e9:.9f} {wall_s}"
