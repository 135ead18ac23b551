-- One-minute bars, kept by a materialised view. A block sent again with its token is dropped here as well, because the
-- target has a window of its own. Bars are per node: two nodes may record one instrument without doubling its volume.

CREATE TABLE IF NOT EXISTS {{database}}.ohlcv_1m
(
    instrument  UInt32 CODEC(ZSTD(1)),
    minute      DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    node        UInt16 CODEC(ZSTD(1)),
    source      Enum8('trade' = 0, 'aggregate' = 1) CODEC(ZSTD(1)),
    price_scale SimpleAggregateFunction(any, UInt8) CODEC(ZSTD(1)),
    size_scale  SimpleAggregateFunction(any, UInt8) CODEC(ZSTD(1)),
    open        AggregateFunction(argMin, Int64, UInt64),
    high        SimpleAggregateFunction(max, Int64) CODEC(ZSTD(1)),
    low         SimpleAggregateFunction(min, Int64) CODEC(ZSTD(1)),
    close       AggregateFunction(argMax, Int64, UInt64),
    volume      SimpleAggregateFunction(sum, Int128) CODEC(ZSTD(1)),
    buy_volume  SimpleAggregateFunction(sum, Int128) CODEC(ZSTD(1)),
    turnover    SimpleAggregateFunction(sum, Int128) CODEC(ZSTD(1)),
    trades      SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(minute)
ORDER BY (instrument, minute, node, source)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- A venue time more than a day off the receive time is a broken stamp: it must neither open a bar in 1970 nor spread one
-- block over more partitions than an insert may touch, which would refuse the trades themselves.
-- Open and close go by seq, the total order of a node; a key of (time, seq) costs six times as much (measured).
-- Synthetic trades (flag 0x0200) are not the venue's and stay out.
CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.ohlcv_1m_mv TO {{database}}.ohlcv_1m AS
SELECT
    instrument,
    toStartOfMinute(toDateTime(at, 'UTC')) AS minute,
    node,
    CAST(bitTest(flags, 11), 'Enum8(\'trade\' = 0, \'aggregate\' = 1)') AS source,
    any(t.price_scale) AS price_scale,
    any(t.size_scale) AS size_scale,
    argMinState(price, seq) AS open,
    max(price) AS high,
    min(price) AS low,
    argMaxState(price, seq) AS close,
    sum(toInt128(size)) AS volume,
    sumIf(toInt128(size), side = 'B') AS buy_volume,
    sum(toInt128(price) * toInt128(size)) AS turnover,
    count() AS trades
FROM
(
    SELECT *, if(abs(toUnixTimestamp64Nano(ts_event) - toUnixTimestamp64Nano(ts_recv)) > 86400000000000, ts_recv, ts_event) AS at
    FROM {{database}}.trades
) AS t
WHERE NOT bitTest(flags, 9)
GROUP BY instrument, minute, node, source;
