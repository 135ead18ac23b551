-- Bars of one second and one hour beside those of one minute: the same columns, kept the same way (003_bars.sql says why).
-- Each is made from the trades and not from a finer one, so that any of them can be made again alone.
-- Bars of trades that are older than these tables are made by tickd when it applies this file (recorder/schema/bars.py).

CREATE TABLE IF NOT EXISTS {{database}}.ohlcv_1s
(
    instrument  UInt32 CODEC(ZSTD(1)),
    second      DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
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
PARTITION BY toYYYYMMDD(second)
ORDER BY (instrument, second, node, source)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.ohlcv_1s_mv TO {{database}}.ohlcv_1s AS
SELECT
    instrument,
    toDateTime(at, 'UTC') AS second,
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
GROUP BY instrument, second, node, source;

CREATE VIEW IF NOT EXISTS {{database}}.bars_1s AS
SELECT
    instrument,
    dictGet('{{database}}.instrument_names', 'symbol', toUInt64(instrument)) AS symbol,
    dictGet('{{database}}.instrument_names', 'venue', toUInt64(instrument)) AS venue,
    second,
    node,
    source,
    argMinMerge(b.open) / intExp10(any(b.price_scale)) AS open,
    max(b.high) / intExp10(any(b.price_scale)) AS high,
    min(b.low) / intExp10(any(b.price_scale)) AS low,
    argMaxMerge(b.close) / intExp10(any(b.price_scale)) AS close,
    sum(b.volume) / intExp10(any(b.size_scale)) AS volume,
    sum(b.buy_volume) / intExp10(any(b.size_scale)) AS buy_volume,
    sum(b.turnover) / intExp10(any(b.price_scale)) / intExp10(any(b.size_scale)) AS turnover,
    sum(b.trades) AS trades
FROM {{database}}.ohlcv_1s AS b
GROUP BY instrument, second, node, source;

CREATE TABLE IF NOT EXISTS {{database}}.ohlcv_1h
(
    instrument  UInt32 CODEC(ZSTD(1)),
    hour        DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
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
PARTITION BY toYYYYMM(hour)
ORDER BY (instrument, hour, node, source)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.ohlcv_1h_mv TO {{database}}.ohlcv_1h AS
SELECT
    instrument,
    toStartOfHour(toDateTime(at, 'UTC')) AS hour,
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
GROUP BY instrument, hour, node, source;

CREATE VIEW IF NOT EXISTS {{database}}.bars_1h AS
SELECT
    instrument,
    dictGet('{{database}}.instrument_names', 'symbol', toUInt64(instrument)) AS symbol,
    dictGet('{{database}}.instrument_names', 'venue', toUInt64(instrument)) AS venue,
    hour,
    node,
    source,
    argMinMerge(b.open) / intExp10(any(b.price_scale)) AS open,
    max(b.high) / intExp10(any(b.price_scale)) AS high,
    min(b.low) / intExp10(any(b.price_scale)) AS low,
    argMaxMerge(b.close) / intExp10(any(b.price_scale)) AS close,
    sum(b.volume) / intExp10(any(b.size_scale)) AS volume,
    sum(b.buy_volume) / intExp10(any(b.size_scale)) AS buy_volume,
    sum(b.turnover) / intExp10(any(b.price_scale)) / intExp10(any(b.size_scale)) AS turnover,
    sum(b.trades) AS trades
FROM {{database}}.ohlcv_1h AS b
GROUP BY instrument, hour, node, source;
