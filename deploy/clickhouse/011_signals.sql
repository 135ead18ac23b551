-- Values of indicators ([[indicators]]): computed by the daemon, not in the raw log, so neither `tickd verify` nor `tickd rebuild`
-- looks at them. seq is the number of the last record of the message that caused the value; (node, seq, indicator) is the key of a row.
CREATE TABLE IF NOT EXISTS {{database}}.signals
(
    node        UInt16 CODEC(ZSTD(1)),
    seq         UInt64 CODEC(Delta, T64, ZSTD(1)),
    ts_recv     DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    ts_event    DateTime64(9, 'UTC') CODEC(GCD, Delta, ZSTD(1)),
    instrument  UInt32 CODEC(ZSTD(1)),
    price_scale UInt8 CODEC(ZSTD(1)),
    size_scale  UInt8 CODEC(ZSTD(1)),
    flags       UInt16 CODEC(ZSTD(1)),
    indicator   UInt32 CODEC(ZSTD(1)),
    value       Float64 CODEC(ZSTD(1)),
    symbol      String ALIAS dictGet('{{database}}.instrument_names', 'symbol', toUInt64(instrument)),
    venue       String ALIAS dictGet('{{database}}.instrument_names', 'venue', toUInt64(instrument)),
    frame_no    UInt64 ALIAS bitShiftRight(seq, 16)
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(ts_recv)
ORDER BY (instrument, indicator, ts_recv, seq)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

-- What the numbers of indicators mean; a definition stored again replaces itself.
CREATE TABLE IF NOT EXISTS {{database}}.indicators
(
    node       UInt16,
    indicator  UInt32,
    name       String,
    kind       LowCardinality(String),
    params     String,
    valid_from DateTime64(9, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (indicator, node)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS {{database}}.signals_v AS
SELECT
    s.ts_recv AS ts_recv,
    s.ts_event AS ts_event,
    s.venue AS venue,
    s.symbol AS symbol,
    i.name AS name,
    i.kind AS kind,
    i.params AS params,
    s.value AS value,
    s.flags AS flags,
    s.instrument AS instrument,
    s.indicator AS indicator,
    s.node AS node,
    s.frame_no AS frame_no,
    s.seq AS seq
FROM {{database}}.signals AS s
LEFT JOIN
(
    SELECT indicator, any(name) AS name, any(kind) AS kind, any(params) AS params
    FROM {{database}}.indicators
    GROUP BY indicator
) AS i ON i.indicator = s.indicator;
