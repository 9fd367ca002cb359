-- `operation` is the id of the analytic.
CREATE TABLE IF NOT EXISTS findings (
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
  severity_name LowCardinality(String),
  title String CODEC(ZSTD(3)),
  message String CODEC(ZSTD(3)),
  provider LowCardinality(String),
  confidence UInt8 CODEC(T64, ZSTD(1)),
  risk_score UInt8 CODEC(T64, ZSTD(1)),
  risk_level LowCardinality(String),
  tactics Array(LowCardinality(String)),
  techniques Array(LowCardinality(String)),
  event_count UInt64 CODEC(T64, ZSTD(1)),
  p_value Nullable(Float64) CODEC(ZSTD(1)),
  INDEX by_time time TYPE minmax GRANULARITY 1,
  INDEX by_uid uid TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX by_principal principal TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY day
ORDER BY (tenant, uid)
TTL day + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

-- Every change of a principal's risk; the newest is its risk now. `operation` is the level.
CREATE TABLE IF NOT EXISTS risk (
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
  score Float64 CODEC(ZSTD(1)),
  INDEX by_time time TYPE minmax GRANULARITY 1,
  INDEX by_uid uid TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX by_principal principal TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY day
ORDER BY (tenant, principal, uid)
TTL day + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;
