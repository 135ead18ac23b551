-- Every trade once: what was fetched later (flag 0x0400) steps back where the same trade came live as well. For the tape as it
-- happened: ORDER BY ts_event, id.
CREATE VIEW IF NOT EXISTS {{database}}.trades_once_v AS
SELECT
    ts_recv,
    ts_event,
    venue,
    symbol,
    nullIf(id, 18446744073709551615) AS id,
    if(price_scale > 18 OR price = 9223372036854775807, NULL, toDecimal128(price, 18) / toDecimal128(intExp10(least(price_scale, 18)), 0)) AS price,
    if(size_scale > 18 OR size = 9223372036854775807, NULL, toDecimal128(size, 18) / toDecimal128(intExp10(least(size_scale, 18)), 0)) AS size,
    side,
    fills,
    bitTest(flags, 10) AS fetched,
    flags,
    instrument,
    node,
    frame_no,
    seq
FROM {{database}}.trades AS t
WHERE NOT bitTest(t.flags, 10) OR (t.node, t.instrument, bitTest(t.flags, 11), t.id) NOT IN
(
    SELECT node, instrument, bitTest(flags, 11), id
    FROM {{database}}.trades
    WHERE NOT bitTest(flags, 10) AND (instrument, id) IN
    (
        SELECT instrument, id FROM {{database}}.trades WHERE bitTest(flags, 10)
    )
);

-- Gaps of trades whose ids are known and that nothing has closed: neither fetched later, nor come late, nor given up.
CREATE VIEW IF NOT EXISTS {{database}}.gaps_open_v AS
SELECT
    ts_recv,
    ts_event,
    venue,
    symbol,
    cause,
    channel,
    from_id,
    to_id,
    missing,
    dateDiff('second', ts_recv, now64(9, 'UTC')) AS open_s,
    instrument,
    node,
    frame_no,
    seq
FROM {{database}}.gaps AS g
WHERE NOT bitTest(g.flags, 10) AND g.channel IN (0, 1) AND g.from_id != 18446744073709551615
    AND (g.node, g.instrument, g.channel, g.ts_event, g.from_id, g.to_id) NOT IN
(
    SELECT node, instrument, channel, ts_event, from_id, to_id FROM {{database}}.gaps WHERE bitTest(flags, 10)
);
