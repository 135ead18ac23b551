-- One more cause of a gap: a channel that was given up for a time because the disk was nearly full.
ALTER TABLE {{database}}.gaps
    MODIFY COLUMN cause Enum8('disconnect' = 1, 'restart' = 2, 'sequence' = 3, 'disk' = 4, 'overflow' = 5, 'quarantine' = 6, 'clock' = 7, 'shed' = 8) CODEC(ZSTD(1));
