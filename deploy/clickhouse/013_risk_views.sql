-- What gate, router and brokers did, for people: names of reasons, exact decimals, NULL where nothing was said. An instrument whose
-- definition has not come yet has no natural values, as its scales are not known.

-- failed: every check that said no, in the order of the checks; the numbers are those of docs/risk-tuning.md.
CREATE VIEW IF NOT EXISTS {{database}}.risk_decisions_v AS
SELECT
    ts_recv,
    action,
    verdict,
    reason,
    arrayMap(
        number -> if(mapContains(names, number), names[number], concat('bit ', toString(number))),
        bitPositionsToArray(vector)
    ) AS failed,
    strategy,
    account,
    venue,
    symbol,
    side,
    if(price_scale IS NULL OR price_scale > 18 OR price = 9223372036854775807, NULL, toDecimal128(price, 18) / toDecimal128(intExp10(least(price_scale, 18)), 0)) AS price,
    if(size_scale IS NULL OR size_scale > 18 OR size = 9223372036854775807, NULL, toDecimal128(size, 18) / toDecimal128(intExp10(least(size_scale, 18)), 0)) AS size,
    time_in_force,
    reduce_only,
    figures,
    limits,
    nullIf(number, 18446744073709551615) AS number,
    nullIf(client_id, 18446744073709551615) AS client_id,
    instrument,
    node,
    frame_no,
    seq
FROM
(
    SELECT
        node, seq, ts_recv, action, verdict, reason, vector, number, client_id, strategy, account, venue, symbol, instrument, side,
        price, size, time_in_force, reduce_only, figures, limits, price_scale, size_scale, frame_no,
        CAST(map(
            1, 'HALTED', 2, 'HALTED_SCOPE', 3, 'SIDE_HALTED', 4, 'NON_FINITE', 5, 'BAD_QTY', 6, 'UNKNOWN_INSTRUMENT',
            7, 'NOT_TRADABLE', 8, 'RESTRICTED', 9, 'TRADING_WINDOW', 10, 'BAD_TICK', 11, 'BAD_LOT', 12, 'MISSING_LIMIT',
            13, 'MAX_ORDER_QTY', 14, 'MISSING_REFERENCE', 15, 'STALE_REFERENCE', 16, 'PRICE_COLLAR', 17, 'PERIOD_COLLAR',
            18, 'MAX_NOTIONAL', 19, 'REDUCE_ONLY', 20, 'POSITION_LIMIT', 21, 'GROSS_EXPOSURE', 22, 'NET_EXPOSURE',
            23, 'MAX_OPEN_ORDERS', 24, 'SELF_TRADE', 25, 'DUPLICATE', 26, 'REPEATED_EXECUTION', 27, 'CANCEL_RATIO',
            28, 'DAILY_LOSS', 29, 'DRAWDOWN', 30, 'MISSING_ACCOUNT', 31, 'STALE_ACCOUNT', 32, 'FREE_BALANCE',
            33, 'RATE_SIDE', 34, 'RATE_VENUE', 35, 'BURST_TOO_SMALL', 36, 'OVERFLOW', 37, 'TOO_MANY', 40, 'OUTBOX',
            41, 'BROKER_DOWN', 42, 'NOT_RECONCILED', 43, 'UNKNOWN_TWIN', 44, 'MALFORMED', 45, 'NO_SUCH_ORDER'
        ), 'Map(UInt64, String)') AS names
    FROM {{database}}.risk_decisions
);

-- The newest state of each order, and when it began; is_open: it may still be filled as far as anybody knows.
CREATE VIEW IF NOT EXISTS {{database}}.orders_v AS
SELECT
    first_ts,
    last_ts,
    state,
    state NOT IN ('rejected', 'denied', 'filled', 'cancelled', 'expired') AS is_open,
    reason,
    code,
    strategy,
    account,
    venue,
    symbol,
    side,
    if(o.price_scale IS NULL OR o.price_scale > 18 OR o.order_price = 9223372036854775807, NULL, toDecimal128(o.order_price, 18) / toDecimal128(intExp10(least(o.price_scale, 18)), 0)) AS order_price,
    if(o.size_scale IS NULL OR o.size_scale > 18 OR o.order_size = 9223372036854775807, NULL, toDecimal128(o.order_size, 18) / toDecimal128(intExp10(least(o.size_scale, 18)), 0)) AS order_size,
    if(o.size_scale IS NULL OR o.size_scale > 18 OR o.cum_size = 9223372036854775807, NULL, toDecimal128(o.cum_size, 18) / toDecimal128(intExp10(least(o.size_scale, 18)), 0)) AS cum_size,
    nullIf(o.number, 18446744073709551615) AS number,
    client_id,
    ref,
    venue_id,
    news,
    instrument,
    node,
    last_seq AS seq
FROM
(
    SELECT
        node,
        client_id,
        min(ts_recv) AS first_ts,
        max(ts_recv) AS last_ts,
        max(seq) AS last_seq,
        count() AS news,
        argMax(n.state, n.seq) AS state,
        argMax(n.reason, n.seq) AS reason,
        argMax(n.code, n.seq) AS code,
        argMax(n.strategy, n.seq) AS strategy,
        argMax(n.account, n.seq) AS account,
        argMax(n.venue, n.seq) AS venue,
        argMax(n.symbol, n.seq) AS symbol,
        argMax(n.instrument, n.seq) AS instrument,
        argMax(n.side, n.seq) AS side,
        argMaxIf(n.order_price, n.seq, n.order_size != 9223372036854775807) AS order_price,
        argMaxIf(n.order_size, n.seq, n.order_size != 9223372036854775807) AS order_size,
        maxIf(n.cum_size, n.cum_size != 9223372036854775807) AS cum_size,
        argMax(n.number, n.seq) AS number,
        argMaxIf(n.ref, n.seq, n.ref != '') AS ref,
        argMaxIf(n.venue_id, n.seq, n.venue_id != '') AS venue_id,
        argMax(n.price_scale, n.seq) AS price_scale,
        argMax(n.size_scale, n.seq) AS size_scale
    FROM {{database}}.orders AS n
    GROUP BY node, client_id
) AS o;

CREATE VIEW IF NOT EXISTS {{database}}.fills_v AS
SELECT
    ts_recv,
    if(ts_event = toDateTime64(0, 9, 'UTC'), NULL, ts_event) AS ts_event,
    exec_id,
    strategy,
    account,
    venue,
    symbol,
    side,
    if(price_scale IS NULL OR price_scale > 18 OR price = 9223372036854775807, NULL, toDecimal128(price, 18) / toDecimal128(intExp10(least(price_scale, 18)), 0)) AS price,
    if(size_scale IS NULL OR size_scale > 18 OR size = 9223372036854775807, NULL, toDecimal128(size, 18) / toDecimal128(intExp10(least(size_scale, 18)), 0)) AS size,
    toDecimal128(fee, 8) / toDecimal128(100000000, 0) AS fee,
    fee_currency,
    late,
    nullIf(number, 18446744073709551615) AS number,
    client_id,
    ref,
    venue_id,
    instrument,
    node,
    frame_no,
    seq
FROM {{database}}.fills;

-- How close each approved decision came to each limit: a figure NAME counts where NAME_limit stands beside it. used = 1: at the limit.
CREATE VIEW IF NOT EXISTS {{database}}.near_misses AS
SELECT
    ts_recv,
    figure,
    abs(toFloat64(value)) / toFloat64(limit_value) AS used,
    value,
    limit_value,
    action,
    strategy,
    account,
    venue,
    symbol,
    side,
    price_f,
    size_f,
    limits,
    number,
    client_id,
    instrument,
    node,
    seq
FROM
(
    SELECT
        ts_recv, action, strategy, account, venue, symbol, side, price_f, size_f, limits, number, client_id, instrument, node, seq,
        arrayJoin(arrayFilter(
            pair -> pair.3 > 0,
            arrayMap(
                name -> (toString(name), figures[name], figures[concat(toString(name), '_limit')]),
                mapKeys(figures)
            )
        )) AS pair,
        pair.1 AS figure,
        pair.2 AS value,
        pair.3 AS limit_value
    FROM {{database}}.risk_decisions
    WHERE verdict = 'approved'
);

-- The positions of the newest snapshot of each account, one row each.
CREATE VIEW IF NOT EXISTS {{database}}.account_positions AS
SELECT
    ts_recv,
    node,
    account,
    position['strategy'] AS strategy,
    position['symbol'] AS symbol,
    toUInt32OrZero(position['instrument']) AS instrument,
    toInt64OrNull(position['size']) AS size,
    position,
    seq
FROM
(
    SELECT node, account, max(s.ts_recv) AS ts_recv, max(s.seq) AS seq, argMax(s.positions, s.seq) AS positions
    FROM {{database}}.account_snapshots AS s
    GROUP BY node, account
)
ARRAY JOIN positions AS position;
