-- Latency of each stage of a tickd daemon, one row per interval in which anything happened.
-- Durations are nanoseconds, quantiles upper edges of histogram buckets: never better than the truth.
-- venue and channel are empty where a stage is not measured by them.
CREATE TABLE latency_probes (
    ts timestamptz NOT NULL,
    node integer NOT NULL,
    stage text NOT NULL,
    venue text NOT NULL,
    channel text NOT NULL,
    interval_ms integer NOT NULL,
    count bigint NOT NULL CHECK (count > 0),
    p50_ns bigint NOT NULL,
    p99_ns bigint NOT NULL,
    p999_ns bigint NOT NULL,
    max_ns bigint NOT NULL,
    PRIMARY KEY (stage, venue, channel, node, ts),
    CHECK (p50_ns <= p99_ns AND p99_ns <= p999_ns AND p999_ns <= max_ns)
);

-- For what is asked by time alone, and for removing old rows: 128 kB per million rows.
CREATE INDEX latency_probes_ts ON latency_probes USING brin (ts);

CREATE VIEW latency_probes_ms AS
SELECT
    ts, node, stage, venue, channel, interval_ms, count,
    count * 1000.0 / NULLIF(interval_ms, 0) AS per_s,
    p50_ns / 1e6 AS p50_ms, p99_ns / 1e6 AS p99_ms, p999_ns / 1e6 AS p999_ms, max_ns / 1e6 AS max_ms
FROM latency_probes;
