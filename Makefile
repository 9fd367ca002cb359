# Thin verbs; what they do stands in Cargo.toml, xtask/ and cli/.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
BIN := target/release/prunella

.PHONY: help demo test services check bench fuzz miri chaos up down release

help: ## Show these verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: ## Build, then attack a throw-away pipeline and watch it heal (no services, no cloud account)
	$(CARGO) build --release -p prunella-cli --no-default-features
	$(BIN) demo

test: ## Everything that is tested, with what it needs
	$(CARGO) xtask need data
	$(CARGO) test --workspace
	$(MAKE) --no-print-directory services
	$(CARGO) build --release -p prunella-cli --no-default-features
	$(CARGO) xtask chaos --kills 12 --seed 1

services: ## What is tested over real Kafka, ClickHouse, Redis, PostgreSQL and the clouds' emulators, which it starts and stops
	$(CARGO) xtask services up
	$(CARGO) test -p prunella-runtime -p prunella-cli --features kafka,clickhouse,postgres,redis --test it -- \
	  kafka clickhouse delivery grafana roles schema postgres redis connectors effectors && \
	$(CARGO) test -p prunella-aws -p prunella-azure -p prunella-gcp --test it; \
	  code=$$?; $(CARGO) xtask services down; exit $$code

check: ## Format, lints, the rules of the house, licences
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test -q -p xtask
	$(CARGO) xtask tidy
	$(CARGO) xtask codegen --check
	$(CARGO) xtask deny

bench: ## Four of the tables of docs/benchmarks.md
	$(CARGO) bench -p prunella-translate -p prunella-ingest -p prunella-detect -p prunella-ledger -p prunella-cli \
	  --bench translate --bench decode --bench detect --bench forest --bench ledger \
	  --bench pipeline

fuzz: ## Fuzz decoder and translators for a minute each (needs a nightly toolchain)
	bash fuzz/run 60

miri: ## Every memory access of the forest's plain and AVX2 kernels, checked (needs a nightly toolchain with miri)
	RUSTFLAGS="-C target-feature=+avx2" $(CARGO) +nightly miri test -p prunella-detect --lib forest::kernel::tests

chaos: ## 200 random kill -9 under load; nothing lost, nothing twice
	$(CARGO) build --release -p prunella-cli --no-default-features
	$(CARGO) xtask chaos --kills 200

up: ## Run the pipeline in the foreground, in ./prunella-data
	$(CARGO) build --release -p prunella-cli --no-default-features
	$(BIN) up

down: ## Stop the pipeline that runs on ./prunella-data
	@test -f prunella-data/pid && kill -TERM "$$(cat prunella-data/pid)" || echo "nothing runs on ./prunella-data"

release: ## The shipped binary: thin LTO, stripped of debug sections
	$(CARGO) build --profile dist --locked -p prunella-cli
