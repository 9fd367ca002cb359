-- What detection says about single events: a score of each, and signals that are no findings yet.
CREATE TABLE IF NOT EXISTS scores (
  tenant LowCardinality(String),
  day Date CODEC(ZSTD(1)),
  uid FixedString(16) CODEC(NONE),
  time DateTime64(3, 'UTC') CODEC(ZSTD(1)),
  origin DateTime64(3, 'UTC') CODEC(ZSTD(1)),
  principal String CODEC(ZSTD(3)),
  operation LowCardinality(String),
  severity UInt8 CODEC(T64, ZSTD(1)),
  src_partition Int32 CODEC(T64, ZSTD(1)),
  src_offset Int64 CODEC(T64, ZSTD(1)),
  version UInt8 CODEC(T64, ZSTD(1)),
  body String CODEC(ZSTD(6)),
  event_uid FixedString(16) CODEC(NONE),
  class_uid UInt32 CODEC(T64, ZSTD(1)),
  p_value Nullable(Float64) CODEC(ZSTD(1)),
  INDEX by_time time TYPE minmax GRANULARITY 1,
  INDEX by_uid uid TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX by_principal principal TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY day
ORDER BY (tenant, uid)
TTL day + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

-- `operation` is the kind of signal.
CREATE TABLE IF NOT EXISTS signals (
  tenant LowCardinality(String),
  day Date CODEC(ZSTD(1)),
  uid FixedString(16) CODEC(NONE),
  time DateTime64(3, 'UTC') CODEC(ZSTD(1)),
  origin DateTime64(3, 'UTC') CODEC(ZSTD(1)),
  principal String CODEC(ZSTD(3)),
  operation LowCardinality(String),
  severity UInt8 CODEC(T64, ZSTD(1)),
  src_partition Int32 CODEC(T64, ZSTD(1)),
  src_offset Int64 CODEC(T64, ZSTD(1)),
  version UInt8 CODEC(T64, ZSTD(1)),
  body String CODEC(ZSTD(6)),
  event_uid FixedString(16) CODEC(NONE),
  weight Float64 CODEC(ZSTD(1)),
  p_value Nullable(Float64) CODEC(ZSTD(1)),
  detail String CODEC(ZSTD(3)),
  INDEX by_time time TYPE minmax GRANULARITY 1,
  INDEX by_uid uid TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX by_principal principal TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY day
ORDER BY (tenant, uid)
TTL day + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;
