#!/bin/bash
# Run once by the image of ClickHouse when it starts on an empty disk: the users beside `migrate`, with what each may do.
set -euo pipefail
ask() { clickhouse-client --user migrate --password "$(cat /run/secrets/clickhouse_migrate)" --query "$1"; }
hash() { sha256sum < <(tr -d '\n' < "/run/secrets/clickhouse_$1") | cut -d' ' -f1; }
ask "CREATE DATABASE IF NOT EXISTS prunella"
ask "CREATE USER IF NOT EXISTS ingest IDENTIFIED WITH sha256_hash BY '$(hash ingest)'"
ask "GRANT SELECT, INSERT ON prunella.* TO ingest"
ask "GRANT KILL QUERY ON *.* TO ingest"
ask "GRANT SELECT ON system.processes TO ingest"
ask "CREATE USER IF NOT EXISTS reader IDENTIFIED WITH sha256_hash BY '$(hash reader)' \
  SETTINGS readonly = 2, max_execution_time = 30 MAX 60, max_memory_usage = 2000000000 MAX 4000000000"
ask "GRANT SELECT ON prunella.* TO reader"
