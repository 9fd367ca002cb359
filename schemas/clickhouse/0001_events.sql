-- Every table has the same first columns. `uid` is the identity of the message: a repeat is the same row, and a merge drops it.
-- `time` is when it happened (the provider's word), `origin` when its first cause became durable here (ours); `day` is that of
-- `time`, held between 30 days before and 1 day after `origin`, so that nobody who invents times can spread an insert over
-- more partitions than an insert may have. `body` is the message as on the log; the other columns are read out of it.
-- `src_partition` and `src_offset` say where on the log it stood. A table keeps its rows for the days that its TTL says.

-- `time_bucket` is the hour in which the event counts. `raw` is the record as the source gave it, cut out of `body`.
CREATE TABLE IF NOT EXISTS events (
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
  class_uid UInt32 CODEC(T64, ZSTD(1)),
  time_bucket DateTime('UTC') CODEC(Delta, ZSTD(1)),
  received DateTime64(3, 'UTC') CODEC(ZSTD(1)),
  activity_id UInt8 CODEC(T64, ZSTD(1)),
  status_id UInt8 CODEC(T64, ZSTD(1)),
  status_code LowCardinality(String),
  source LowCardinality(String),
  provider LowCardinality(String),
  service LowCardinality(String),
  region LowCardinality(String),
  account String CODEC(ZSTD(3)),
  source_ip String CODEC(ZSTD(3)),
  bytes_out UInt64 CODEC(T64, ZSTD(1)),
  flags Array(LowCardinality(String)),
  raw String CODEC(ZSTD(6)),
  INDEX by_source_ip source_ip TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX by_time time TYPE minmax GRANULARITY 1,
  INDEX by_uid uid TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX by_principal principal TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY day
ORDER BY (tenant, class_uid, time_bucket, uid)
TTL day + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;
