-- Events. Column order is block order; integers are the truth, *_f are for people (NULL where undefined).
-- (node, seq) is the key of a row everywhere; codecs were measured on a real capture (docs/adr/0007-clickhouse-schema.md).

-- One row per trade; side is the aggressor's.
CREATE TABLE IF NOT EXISTS {{database}}.trades
(
    node        UInt16 CODEC(ZSTD(1)),
    seq         UInt64 CODEC(Delta, T64, ZSTD(1)),
    ts_recv     DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    ts_event    DateTime64(9, 'UTC') CODEC(GCD, Delta, ZSTD(1)),
    instrument  UInt32 CODEC(ZSTD(1)),
    price_scale UInt8 CODEC(ZSTD(1)),
    size_scale  UInt8 CODEC(ZSTD(1)),
    flags       UInt16 CODEC(ZSTD(1)),
    id UInt64 CODEC(DoubleDelta, ZSTD(1)),
    price Int64 CODEC(ZSTD(1)),
    size Int64 CODEC(T64, ZSTD(1)),
    side Enum8('N' = 0, 'B' = 1, 'A' = 2) CODEC(ZSTD(1)),
    fills UInt32 CODEC(ZSTD(1)),
    price_f Float64 ALIAS price / intExp10(price_scale),
    size_f Float64 ALIAS size / intExp10(size_scale),
    symbol      String ALIAS dictGet('{{database}}.instrument_names', 'symbol', toUInt64(instrument)),
    venue       String ALIAS dictGet('{{database}}.instrument_names', 'venue', toUInt64(instrument)),
    frame_no    UInt64 ALIAS bitShiftRight(seq, 16)
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(ts_recv)
ORDER BY (instrument, ts_recv, seq)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

-- One row per best bid and ask; seq is the bid record's.
CREATE TABLE IF NOT EXISTS {{database}}.quotes
(
    node        UInt16 CODEC(ZSTD(1)),
    seq         UInt64 CODEC(Delta, T64, ZSTD(1)),
    ts_recv     DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    ts_event    DateTime64(9, 'UTC') CODEC(GCD, Delta, ZSTD(1)),
    instrument  UInt32 CODEC(ZSTD(1)),
    price_scale UInt8 CODEC(ZSTD(1)),
    size_scale  UInt8 CODEC(ZSTD(1)),
    flags       UInt16 CODEC(ZSTD(1)),
    id UInt64 CODEC(Delta, ZSTD(1)),
    bid_price Int64 CODEC(ZSTD(1)),
    bid_size Int64 CODEC(ZSTD(1)),
    ask_price Int64 CODEC(ZSTD(1)),
    ask_size Int64 CODEC(ZSTD(1)),
    bid_price_f Nullable(Float64) ALIAS nullIf(bid_price, 9223372036854775807) / intExp10(price_scale),
    bid_size_f Nullable(Float64) ALIAS nullIf(bid_size, 9223372036854775807) / intExp10(size_scale),
    ask_price_f Nullable(Float64) ALIAS nullIf(ask_price, 9223372036854775807) / intExp10(price_scale),
    ask_size_f Nullable(Float64) ALIAS nullIf(ask_size, 9223372036854775807) / intExp10(size_scale),
    symbol      String ALIAS dictGet('{{database}}.instrument_names', 'symbol', toUInt64(instrument)),
    venue       String ALIAS dictGet('{{database}}.instrument_names', 'venue', toUInt64(instrument)),
    frame_no    UInt64 ALIAS bitShiftRight(seq, 16)
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(ts_recv)
ORDER BY (instrument, ts_recv, seq)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

-- One row per depth message: its levels as arrays, size 0 deletes a level.
CREATE TABLE IF NOT EXISTS {{database}}.book
(
    node        UInt16 CODEC(ZSTD(1)),
    seq         UInt64 CODEC(Delta, T64, ZSTD(1)),
    ts_recv     DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    ts_event    DateTime64(9, 'UTC') CODEC(GCD, Delta, ZSTD(1)),
    instrument  UInt32 CODEC(ZSTD(1)),
    price_scale UInt8 CODEC(ZSTD(1)),
    size_scale  UInt8 CODEC(ZSTD(1)),
    flags       UInt16 CODEC(ZSTD(1)),
    first_id UInt64 CODEC(Delta, ZSTD(1)),
    last_id UInt64 CODEC(Delta, ZSTD(1)),
    previous_id UInt64 CODEC(Delta, ZSTD(1)),
    bid_price Array(Int64) CODEC(Delta, ZSTD(1)),
    bid_size Array(Int64) CODEC(T64, ZSTD(1)),
    ask_price Array(Int64) CODEC(Delta, ZSTD(1)),
    ask_size Array(Int64) CODEC(T64, ZSTD(1)),
    bid_price_f Array(Float64) ALIAS arrayMap(x -> x / intExp10(price_scale), bid_price),
    bid_size_f Array(Float64) ALIAS arrayMap(x -> x / intExp10(size_scale), bid_size),
    ask_price_f Array(Float64) ALIAS arrayMap(x -> x / intExp10(price_scale), ask_price),
    ask_size_f Array(Float64) ALIAS arrayMap(x -> x / intExp10(size_scale), ask_size),
    is_snapshot Bool ALIAS bitTest(flags, 5),
    CONSTRAINT levels CHECK length(bid_price) = length(bid_size) AND length(ask_price) = length(ask_size),
    symbol      String ALIAS dictGet('{{database}}.instrument_names', 'symbol', toUInt64(instrument)),
    venue       String ALIAS dictGet('{{database}}.instrument_names', 'venue', toUInt64(instrument)),
    frame_no    UInt64 ALIAS bitShiftRight(seq, 16)
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(ts_recv)
ORDER BY (instrument, ts_recv, seq)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

-- Mark and index prices, funding rates, open interest, each with its own scale.
CREATE TABLE IF NOT EXISTS {{database}}.marks
(
    node        UInt16 CODEC(ZSTD(1)),
    seq         UInt64 CODEC(Delta, T64, ZSTD(1)),
    ts_recv     DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    ts_event    DateTime64(9, 'UTC') CODEC(GCD, Delta, ZSTD(1)),
    instrument  UInt32 CODEC(ZSTD(1)),
    price_scale UInt8 CODEC(ZSTD(1)),
    size_scale  UInt8 CODEC(ZSTD(1)),
    flags       UInt16 CODEC(ZSTD(1)),
    kind Enum8('mark' = 1, 'index' = 2, 'funding' = 3, 'open_interest' = 4) CODEC(ZSTD(1)),
    value Int64 CODEC(ZSTD(1)),
    value_scale UInt8 CODEC(ZSTD(1)),
    next_ts DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    value_f Nullable(Float64) ALIAS nullIf(value, 9223372036854775807) / intExp10(value_scale),
    symbol      String ALIAS dictGet('{{database}}.instrument_names', 'symbol', toUInt64(instrument)),
    venue       String ALIAS dictGet('{{database}}.instrument_names', 'venue', toUInt64(instrument)),
    frame_no    UInt64 ALIAS bitShiftRight(seq, 16)
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(ts_recv)
ORDER BY (instrument, ts_recv, seq)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

-- Forced orders as the venue reports them.
CREATE TABLE IF NOT EXISTS {{database}}.liquidations
(
    node        UInt16 CODEC(ZSTD(1)),
    seq         UInt64 CODEC(Delta, T64, ZSTD(1)),
    ts_recv     DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    ts_event    DateTime64(9, 'UTC') CODEC(GCD, Delta, ZSTD(1)),
    instrument  UInt32 CODEC(ZSTD(1)),
    price_scale UInt8 CODEC(ZSTD(1)),
    size_scale  UInt8 CODEC(ZSTD(1)),
    flags       UInt16 CODEC(ZSTD(1)),
    id UInt64 CODEC(ZSTD(1)),
    price Int64 CODEC(ZSTD(1)),
    average_price Int64 CODEC(ZSTD(1)),
    size Int64 CODEC(T64, ZSTD(1)),
    side Enum8('N' = 0, 'B' = 1, 'A' = 2) CODEC(ZSTD(1)),
    price_f Nullable(Float64) ALIAS nullIf(price, 9223372036854775807) / intExp10(price_scale),
    average_price_f Nullable(Float64) ALIAS nullIf(average_price, 9223372036854775807) / intExp10(price_scale),
    size_f Nullable(Float64) ALIAS nullIf(size, 9223372036854775807) / intExp10(size_scale),
    symbol      String ALIAS dictGet('{{database}}.instrument_names', 'symbol', toUInt64(instrument)),
    venue       String ALIAS dictGet('{{database}}.instrument_names', 'venue', toUInt64(instrument)),
    frame_no    UInt64 ALIAS bitShiftRight(seq, 16)
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(ts_recv)
ORDER BY (instrument, ts_recv, seq)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

-- What the synchroniser concluded about a book, and trading status.
CREATE TABLE IF NOT EXISTS {{database}}.states
(
    node        UInt16 CODEC(ZSTD(1)),
    seq         UInt64 CODEC(Delta, T64, ZSTD(1)),
    ts_recv     DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    ts_event    DateTime64(9, 'UTC') CODEC(GCD, Delta, ZSTD(1)),
    instrument  UInt32 CODEC(ZSTD(1)),
    price_scale UInt8 CODEC(ZSTD(1)),
    size_scale  UInt8 CODEC(ZSTD(1)),
    flags       UInt16 CODEC(ZSTD(1)),
    kind Enum8('book' = 1, 'status' = 2) CODEC(ZSTD(1)),
    state Int32 CODEC(ZSTD(1)),
    last_id UInt64 CODEC(ZSTD(1)),
    expected_id UInt64 CODEC(ZSTD(1)),
    received_id UInt64 CODEC(ZSTD(1)),
    state_name String ALIAS if(kind = 'book', transform(state, [0, 1, 2, 3], ['init', 'buffering', 'synced', 'gap'], toString(state)), toString(state)),
    symbol      String ALIAS dictGet('{{database}}.instrument_names', 'symbol', toUInt64(instrument)),
    venue       String ALIAS dictGet('{{database}}.instrument_names', 'venue', toUInt64(instrument)),
    frame_no    UInt64 ALIAS bitShiftRight(seq, 16)
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(ts_recv)
ORDER BY (instrument, ts_recv, seq)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

-- What is missing: from ts_event to ts_recv, ids from_id to to_id where the venue's ids are gapless.
CREATE TABLE IF NOT EXISTS {{database}}.gaps
(
    node        UInt16 CODEC(ZSTD(1)),
    seq         UInt64 CODEC(Delta, T64, ZSTD(1)),
    ts_recv     DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    ts_event    DateTime64(9, 'UTC') CODEC(GCD, Delta, ZSTD(1)),
    instrument  UInt32 CODEC(ZSTD(1)),
    price_scale UInt8 CODEC(ZSTD(1)),
    size_scale  UInt8 CODEC(ZSTD(1)),
    flags       UInt16 CODEC(ZSTD(1)),
    cause Enum8('disconnect' = 1, 'restart' = 2, 'sequence' = 3, 'disk' = 4, 'overflow' = 5, 'quarantine' = 6, 'clock' = 7) CODEC(ZSTD(1)),
    channel UInt8 CODEC(ZSTD(1)),
    from_id UInt64 CODEC(ZSTD(1)),
    to_id UInt64 CODEC(ZSTD(1)),
    missing UInt64 CODEC(ZSTD(1)),
    duration_s Float64 ALIAS (toUnixTimestamp64Nano(ts_recv) - toUnixTimestamp64Nano(ts_event)) / 1e9,
    symbol      String ALIAS dictGet('{{database}}.instrument_names', 'symbol', toUInt64(instrument)),
    venue       String ALIAS dictGet('{{database}}.instrument_names', 'venue', toUInt64(instrument)),
    frame_no    UInt64 ALIAS bitShiftRight(seq, 16)
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(ts_recv)
ORDER BY (instrument, ts_recv, seq)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;
