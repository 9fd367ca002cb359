-- Every transition of every plan. `operation` is the action, `uid` that of the transition.
CREATE TABLE IF NOT EXISTS plans (
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
  plan_uid FixedString(16) CODEC(ZSTD(1)),
  sequence UInt32 CODEC(T64, ZSTD(1)),
  state LowCardinality(String),
  playbook LowCardinality(String),
  mode LowCardinality(String),
  INDEX by_time time TYPE minmax GRANULARITY 1,
  INDEX by_uid uid TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX by_principal principal TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY day
ORDER BY (tenant, plan_uid, sequence, uid)
TTL day + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

-- `operation` is the action. What was not reached or not measured is NULL.
CREATE TABLE IF NOT EXISTS receipts (
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
  plan_uid FixedString(16) CODEC(ZSTD(1)),
  state LowCardinality(String),
  evidence LowCardinality(String),
  contained Bool,
  delivery_ms Nullable(Int64) CODEC(ZSTD(1)),
  detect_ms Nullable(Int64) CODEC(ZSTD(1)),
  plan_ms Nullable(Int64) CODEC(ZSTD(1)),
  apply_ms Nullable(Int64) CODEC(ZSTD(1)),
  verify_ms Nullable(Int64) CODEC(ZSTD(1)),
  total_ms Nullable(Int64) CODEC(ZSTD(1)),
  INDEX by_time time TYPE minmax GRANULARITY 1,
  INDEX by_uid uid TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX by_principal principal TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY day
ORDER BY (tenant, uid)
TTL day + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;
