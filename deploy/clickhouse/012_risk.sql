-- What gate, router and brokers did: one row per control record of the raw log that says so (kinds risk, order, execution, account,
-- audit; docs/formats/raw-log.md). (node, seq) is the key of a row, seq = frame_no << 16. Integers are the truth: prices and sizes are
-- mantissas whose scales the instrument has, money is in units of 1e-8; 9223372036854775807 and 18446744073709551615 = not said.
-- Few rows, kept for long: partitions are months, and no TTL of the events' tables touches them (docs/adr/0038-risk-tables.md).

-- One row per answer of the gate: reason = the first that said no, vector = a bit for every one that did.
CREATE TABLE IF NOT EXISTS {{database}}.risk_decisions
(
    node          UInt16 CODEC(ZSTD(1)),
    seq           UInt64 CODEC(Delta, ZSTD(1)),
    ts_recv       DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    action        LowCardinality(String),
    verdict       LowCardinality(String),
    reason        LowCardinality(String),
    vector        UInt64 CODEC(ZSTD(1)),
    number        UInt64 CODEC(Delta, ZSTD(1)),
    client_id     UInt64 CODEC(Delta, ZSTD(1)),
    strategy      LowCardinality(String),
    account       LowCardinality(String),
    venue         LowCardinality(String),
    symbol        LowCardinality(String),
    instrument    UInt32 CODEC(ZSTD(1)),
    side          Enum8('N' = 0, 'B' = 1, 'A' = 2) CODEC(ZSTD(1)),
    price         Int64 CODEC(ZSTD(1)),
    size          Int64 CODEC(ZSTD(1)),
    time_in_force LowCardinality(String),
    reduce_only   Bool CODEC(ZSTD(1)),
    figures       Map(LowCardinality(String), Int128) CODEC(ZSTD(1)),
    limits        LowCardinality(String),
    price_scale   Nullable(UInt8) ALIAS dictGetOrNull('{{database}}.instrument_names', 'price_scale', toUInt64(instrument)),
    size_scale    Nullable(UInt8) ALIAS dictGetOrNull('{{database}}.instrument_names', 'size_scale', toUInt64(instrument)),
    price_f       Nullable(Float64) ALIAS nullIf(price, 9223372036854775807) / intExp10(price_scale),
    size_f        Nullable(Float64) ALIAS nullIf(size, 9223372036854775807) / intExp10(size_scale),
    frame_no      UInt64 ALIAS bitShiftRight(seq, 16),
    INDEX times ts_recv TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts_recv)
ORDER BY (node, seq)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- One row per news of an order. price and size are a fill's, order_price and order_size what the order asks for.
CREATE TABLE IF NOT EXISTS {{database}}.orders
(
    node          UInt16 CODEC(ZSTD(1)),
    seq           UInt64 CODEC(Delta, ZSTD(1)),
    ts_recv       DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    state         LowCardinality(String),
    reason        String CODEC(ZSTD(1)),
    code          LowCardinality(String),
    number        UInt64 CODEC(Delta, ZSTD(1)),
    client_id     UInt64 CODEC(Delta, ZSTD(1)),
    ref           String CODEC(ZSTD(1)),
    venue_id      String CODEC(ZSTD(1)),
    strategy      LowCardinality(String),
    account       LowCardinality(String),
    venue         LowCardinality(String),
    symbol        LowCardinality(String),
    instrument    UInt32 CODEC(ZSTD(1)),
    side          Enum8('N' = 0, 'B' = 1, 'A' = 2) CODEC(ZSTD(1)),
    price         Int64 CODEC(ZSTD(1)),
    size          Int64 CODEC(ZSTD(1)),
    order_price   Int64 CODEC(ZSTD(1)),
    order_size    Int64 CODEC(ZSTD(1)),
    cum_size      Int64 CODEC(ZSTD(1)),
    price_scale   Nullable(UInt8) ALIAS dictGetOrNull('{{database}}.instrument_names', 'price_scale', toUInt64(instrument)),
    size_scale    Nullable(UInt8) ALIAS dictGetOrNull('{{database}}.instrument_names', 'size_scale', toUInt64(instrument)),
    price_f       Nullable(Float64) ALIAS nullIf(price, 9223372036854775807) / intExp10(price_scale),
    size_f        Nullable(Float64) ALIAS nullIf(size, 9223372036854775807) / intExp10(size_scale),
    order_price_f Nullable(Float64) ALIAS nullIf(order_price, 9223372036854775807) / intExp10(price_scale),
    order_size_f  Nullable(Float64) ALIAS nullIf(order_size, 9223372036854775807) / intExp10(size_scale),
    cum_size_f    Nullable(Float64) ALIAS nullIf(cum_size, 9223372036854775807) / intExp10(size_scale),
    frame_no      UInt64 ALIAS bitShiftRight(seq, 16),
    INDEX times ts_recv TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts_recv)
ORDER BY (node, seq)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- One row per execution; fee is money paid, negative: received. late = it came when the order was over.
CREATE TABLE IF NOT EXISTS {{database}}.fills
(
    node          UInt16 CODEC(ZSTD(1)),
    seq           UInt64 CODEC(Delta, ZSTD(1)),
    ts_recv       DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    ts_event      DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    exec_id       String CODEC(ZSTD(1)),
    number        UInt64 CODEC(Delta, ZSTD(1)),
    client_id     UInt64 CODEC(Delta, ZSTD(1)),
    ref           String CODEC(ZSTD(1)),
    venue_id      String CODEC(ZSTD(1)),
    strategy      LowCardinality(String),
    account       LowCardinality(String),
    venue         LowCardinality(String),
    symbol        LowCardinality(String),
    instrument    UInt32 CODEC(ZSTD(1)),
    side          Enum8('N' = 0, 'B' = 1, 'A' = 2) CODEC(ZSTD(1)),
    price         Int64 CODEC(ZSTD(1)),
    size          Int64 CODEC(ZSTD(1)),
    fee           Int64 CODEC(ZSTD(1)),
    fee_currency  LowCardinality(String),
    late          Bool CODEC(ZSTD(1)),
    price_scale   Nullable(UInt8) ALIAS dictGetOrNull('{{database}}.instrument_names', 'price_scale', toUInt64(instrument)),
    size_scale    Nullable(UInt8) ALIAS dictGetOrNull('{{database}}.instrument_names', 'size_scale', toUInt64(instrument)),
    price_f       Nullable(Float64) ALIAS nullIf(price, 9223372036854775807) / intExp10(price_scale),
    size_f        Nullable(Float64) ALIAS nullIf(size, 9223372036854775807) / intExp10(size_scale),
    fee_f         Float64 ALIAS fee / 1e8,
    frame_no      UInt64 ALIAS bitShiftRight(seq, 16),
    INDEX times ts_recv TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts_recv)
ORDER BY (node, seq)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- What an account had; positions as the record has them, a map of texts each.
CREATE TABLE IF NOT EXISTS {{database}}.account_snapshots
(
    node           UInt16 CODEC(ZSTD(1)),
    seq            UInt64 CODEC(Delta, ZSTD(1)),
    ts_recv        DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    account        LowCardinality(String),
    currency       LowCardinality(String),
    equity         Int64 CODEC(ZSTD(1)),
    free           Int64 CODEC(ZSTD(1)),
    margin_used    Int64 CODEC(ZSTD(1)),
    unrealised     Int64 CODEC(ZSTD(1)),
    realised_day   Int64 CODEC(ZSTD(1)),
    positions      Array(Map(LowCardinality(String), String)) CODEC(ZSTD(1)),
    equity_f       Nullable(Float64) ALIAS nullIf(equity, 9223372036854775807) / 1e8,
    free_f         Nullable(Float64) ALIAS nullIf(free, 9223372036854775807) / 1e8,
    margin_used_f  Nullable(Float64) ALIAS nullIf(margin_used, 9223372036854775807) / 1e8,
    unrealised_f   Nullable(Float64) ALIAS nullIf(unrealised, 9223372036854775807) / 1e8,
    realised_day_f Nullable(Float64) ALIAS nullIf(realised_day, 9223372036854775807) / 1e8,
    frame_no       UInt64 ALIAS bitShiftRight(seq, 16),
    INDEX times ts_recv TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts_recv)
ORDER BY (node, seq)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Who stopped, armed, reloaded or resolved what; record is the control record itself.
CREATE TABLE IF NOT EXISTS {{database}}.audit
(
    node     UInt16 CODEC(ZSTD(1)),
    seq      UInt64 CODEC(Delta, ZSTD(1)),
    ts_recv  DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    action   LowCardinality(String),
    scope    LowCardinality(String),
    key      String CODEC(ZSTD(1)),
    operator LowCardinality(String),
    reason   String CODEC(ZSTD(1)),
    source   LowCardinality(String),
    epoch    UInt64 CODEC(ZSTD(1)),
    record   String CODEC(ZSTD(1)),
    frame_no UInt64 ALIAS bitShiftRight(seq, 16),
    INDEX times ts_recv TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts_recv)
ORDER BY (node, seq)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
