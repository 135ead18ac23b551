"""Metrics that no dashboard and no rule reads, and why they are there all the same.

A metric that is exposed must be used in a dashboard, in a rule, or stand here.
"""

from __future__ import annotations

from typing import Final

__all__ = ["OPERATOR_ONLY"]

_LAST_MINUTE: Final = (
    "quantiles of the last minute for who reads /metrics by hand; dashboards sum the histogram"
)

# Name -> what it is for.
OPERATOR_ONLY: Final = {
    "tickd_app_gc_pause_quantile_seconds": _LAST_MINUTE,
    "tickd_app_start_timestamp_seconds": "process_start_time_seconds says the same",
    "tickd_gateway_gap_fill_quantile_seconds": _LAST_MINUTE,
    "tickd_gateway_publish_latency_quantile_seconds": _LAST_MINUTE,
    "tickd_recorder_raw_fsync_quantile_seconds": _LAST_MINUTE,
    "tickd_recorder_raw_write_latency_quantile_seconds": _LAST_MINUTE,
    "tickd_recorder_sink_ack_latency_quantile_seconds": _LAST_MINUTE,
    "tickd_recorder_sink_age_limit_seconds": "a setting that adapts; to be looked at beside blocks",
    "tickd_recorder_verify_timestamp_seconds": "when `tickd verify` ended last",
    "tickd_recorder_verify_unchecked": "what it could not check, which it says itself",
    "tickd_risk_ack_latency_quantile_seconds": _LAST_MINUTE,
    "tickd_risk_decision_latency_quantile_seconds": _LAST_MINUTE,
    "tickd_risk_outbox_latency_quantile_seconds": _LAST_MINUTE,
    "tickd_telemetry_scrape_quantile_seconds": _LAST_MINUTE,
}
