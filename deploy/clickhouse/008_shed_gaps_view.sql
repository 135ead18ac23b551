-- A view keeps the types of its columns as they were: gaps_v has to learn the new cause as well.
CREATE OR REPLACE VIEW {{database}}.gaps_v AS
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
