-- Views for people and dashboards: finished bars, and the book one row per level.

CREATE VIEW IF NOT EXISTS {{database}}.bars_1m AS
SELECT
    instrument,
    dictGet('{{database}}.instrument_names', 'symbol', toUInt64(instrument)) AS symbol,
    dictGet('{{database}}.instrument_names', 'venue', toUInt64(instrument)) AS venue,
    minute,
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
FROM {{database}}.ohlcv_1m AS b
GROUP BY instrument, minute, node, source;

CREATE VIEW IF NOT EXISTS {{database}}.book_levels AS
SELECT
    node,
    seq,
    ts_recv,
    ts_event,
    instrument,
    symbol,
    venue,
    flags,
    last_id,
    level.1 AS side,
    level.2 AS price,
    level.3 AS size,
    level.4 AS position,
    level.2 / intExp10(price_scale) AS price_f,
    level.3 / intExp10(size_scale) AS size_f
FROM
(
    SELECT node, seq, ts_recv, ts_event, instrument, symbol, venue, flags, last_id, price_scale, size_scale,
        arrayConcat(
            arrayMap((p, s, i) -> (CAST('B', 'Enum8(\'N\' = 0, \'B\' = 1, \'A\' = 2)'), p, s, i),
                bid_price, bid_size, arrayEnumerate(bid_price)),
            arrayMap((p, s, i) -> (CAST('A', 'Enum8(\'N\' = 0, \'B\' = 1, \'A\' = 2)'), p, s, i),
                ask_price, ask_size, arrayEnumerate(ask_price))
        ) AS levels
    FROM {{database}}.book
)
ARRAY JOIN levels AS level;
