-- Definitions and bookkeeping: instruments, their names, segments of the raw log, lag of topics.
-- Templates: {{database}}, {{user}}, {{password}} (the checksum of a migration is taken before they are filled in).

CREATE TABLE IF NOT EXISTS {{database}}.instruments
(
    node        UInt16,
    instrument  UInt32,
    venue       LowCardinality(String),
    symbol      String,
    asset_class LowCardinality(String),
    price_scale UInt8,
    size_scale  UInt8,
    tick        Int64,
    lot         Int64,
    multiplier  String,
    valid_from  DateTime64(9, 'UTC'),
    tick_f      Float64 ALIAS tick / intExp10(price_scale),
    lot_f       Float64 ALIAS lot / intExp10(size_scale)
)
ENGINE = ReplacingMergeTree
ORDER BY (instrument, node)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Names for ALIAS columns. A new definition shows up within seconds; SYSTEM RELOAD DICTIONARY makes it immediate.
CREATE DICTIONARY IF NOT EXISTS {{database}}.instrument_names
(
    instrument  UInt64,
    venue       String,
    symbol      String,
    asset_class String,
    price_scale UInt8,
    size_scale  UInt8,
    multiplier  String
)
PRIMARY KEY instrument
SOURCE(CLICKHOUSE(DB '{{database}}' TABLE 'instruments' USER '{{user}}' PASSWORD '{{password}}'))
LAYOUT(HASHED())
LIFETIME(MIN 1 MAX 5);

CREATE TABLE IF NOT EXISTS {{database}}.segments
(
    node        UInt16,
    segment     String,
    first_frame UInt64,
    last_frame  UInt64,
    first_recv  DateTime64(9, 'UTC'),
    last_recv   DateTime64(9, 'UTC'),
    records     UInt64,
    bytes       UInt64,
    hash        String,
    state       LowCardinality(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (node, segment)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS {{database}}.topic_lag
(
    ts           DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    node         UInt16 CODEC(ZSTD(1)),
    topic        LowCardinality(String),
    depth        UInt64 CODEC(ZSTD(1)),
    high_water   UInt64 CODEC(ZSTD(1)),
    oldest_age_s Float64 CODEC(ZSTD(1)),
    dropped      UInt64 CODEC(ZSTD(1)),
    events       UInt64 CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(ts)
ORDER BY (topic, node, ts)
TTL toDateTime(ts) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;
