-- One view per event table with names and natural values: exact decimals (18 digits behind the point, the most that a scale
-- can have), NULL where the venue said nothing. For people, notebooks and dashboards; the integers stay in the tables.

CREATE VIEW IF NOT EXISTS {{database}}.trades_v AS
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
    flags,
    instrument,
    node,
    frame_no,
    seq
FROM {{database}}.trades;

CREATE VIEW IF NOT EXISTS {{database}}.quotes_v AS
SELECT
    ts_recv,
    ts_event,
    venue,
    symbol,
    nullIf(id, 18446744073709551615) AS id,
    if(price_scale > 18 OR bid_price = 9223372036854775807, NULL, toDecimal128(bid_price, 18) / toDecimal128(intExp10(least(price_scale, 18)), 0)) AS bid_price,
    if(size_scale > 18 OR bid_size = 9223372036854775807, NULL, toDecimal128(bid_size, 18) / toDecimal128(intExp10(least(size_scale, 18)), 0)) AS bid_size,
    if(price_scale > 18 OR ask_price = 9223372036854775807, NULL, toDecimal128(ask_price, 18) / toDecimal128(intExp10(least(price_scale, 18)), 0)) AS ask_price,
    if(size_scale > 18 OR ask_size = 9223372036854775807, NULL, toDecimal128(ask_size, 18) / toDecimal128(intExp10(least(size_scale, 18)), 0)) AS ask_size,
    flags,
    instrument,
    node,
    frame_no,
    seq
FROM {{database}}.quotes;

CREATE VIEW IF NOT EXISTS {{database}}.book_v AS
SELECT
    ts_recv,
    ts_event,
    venue,
    symbol,
    nullIf(first_id, 18446744073709551615) AS first_id,
    nullIf(last_id, 18446744073709551615) AS last_id,
    nullIf(previous_id, 18446744073709551615) AS previous_id,
    arrayMap(x -> toDecimal128(x, 18) / toDecimal128(intExp10(least(price_scale, 18)), 0), bid_price) AS bid_price,
    arrayMap(x -> toDecimal128(x, 18) / toDecimal128(intExp10(least(size_scale, 18)), 0), bid_size) AS bid_size,
    arrayMap(x -> toDecimal128(x, 18) / toDecimal128(intExp10(least(price_scale, 18)), 0), ask_price) AS ask_price,
    arrayMap(x -> toDecimal128(x, 18) / toDecimal128(intExp10(least(size_scale, 18)), 0), ask_size) AS ask_size,
    is_snapshot,
    flags,
    instrument,
    node,
    frame_no,
    seq
FROM {{database}}.book;

CREATE VIEW IF NOT EXISTS {{database}}.marks_v AS
SELECT
    ts_recv,
    ts_event,
    venue,
    symbol,
    kind,
    if(value_scale > 18 OR value = 9223372036854775807, NULL, toDecimal128(value, 18) / toDecimal128(intExp10(least(value_scale, 18)), 0)) AS value,
    nullIf(next_ts, toDateTime64(0, 9, 'UTC')) AS next_ts,
    flags,
    instrument,
    node,
    frame_no,
    seq
FROM {{database}}.marks;

CREATE VIEW IF NOT EXISTS {{database}}.liquidations_v AS
SELECT
    ts_recv,
    ts_event,
    venue,
    symbol,
    nullIf(id, 18446744073709551615) AS id,
    if(price_scale > 18 OR price = 9223372036854775807, NULL, toDecimal128(price, 18) / toDecimal128(intExp10(least(price_scale, 18)), 0)) AS price,
    if(price_scale > 18 OR average_price = 9223372036854775807, NULL, toDecimal128(average_price, 18) / toDecimal128(intExp10(least(price_scale, 18)), 0)) AS average_price,
    if(size_scale > 18 OR size = 9223372036854775807, NULL, toDecimal128(size, 18) / toDecimal128(intExp10(least(size_scale, 18)), 0)) AS size,
    side,
    flags,
    instrument,
    node,
    frame_no,
    seq
FROM {{database}}.liquidations;

CREATE VIEW IF NOT EXISTS {{database}}.states_v AS
SELECT
    ts_recv,
    ts_event,
    venue,
    symbol,
    kind,
    state,
    state_name,
    nullIf(last_id, 18446744073709551615) AS last_id,
    nullIf(expected_id, 18446744073709551615) AS expected_id,
    nullIf(received_id, 18446744073709551615) AS received_id,
    flags,
    instrument,
    node,
    frame_no,
    seq
FROM {{database}}.states;

CREATE VIEW IF NOT EXISTS {{database}}.gaps_v AS
SELECT
    ts_recv,
    ts_event,
    venue,
    symbol,
    cause,
    channel,
    nullIf(from_id, 18446744073709551615) AS from_id,
    nullIf(to_id, 18446744073709551615) AS to_id,
    nullIf(missing, 18446744073709551615) AS missing,
    duration_s,
    flags,
    instrument,
    node,
    frame_no,
    seq
FROM {{database}}.gaps;
