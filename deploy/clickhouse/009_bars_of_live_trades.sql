-- What was fetched later (flag 0x0400) comes behind everything live, so that it would close its minute whenever it happened.
-- The views leave it out; tickd puts it into the bars at its own place (recorder/schema/bars.py, bars_select).

ALTER TABLE {{database}}.ohlcv_1s_mv MODIFY QUERY
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
WHERE bitAnd(flags, 1536) = 0
GROUP BY instrument, second, node, source;

ALTER TABLE {{database}}.ohlcv_1m_mv MODIFY QUERY
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
WHERE bitAnd(flags, 1536) = 0
GROUP BY instrument, minute, node, source;

ALTER TABLE {{database}}.ohlcv_1h_mv MODIFY QUERY
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
WHERE bitAnd(flags, 1536) = 0
GROUP BY instrument, hour, node, source;
