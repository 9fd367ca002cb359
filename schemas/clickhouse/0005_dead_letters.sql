-- `principal` is the source's name, `operation` the reason. Of a record refused again the newest refusal stands.
CREATE TABLE IF NOT EXISTS dead_letters (
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
  detail String CODEC(ZSTD(3)),
  INDEX by_time time TYPE minmax GRANULARITY 1,
  INDEX by_uid uid TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX by_principal principal TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(time)
PARTITION BY day
ORDER BY (tenant, uid)
TTL day + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;
