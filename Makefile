# What is done often, by name. `make` alone says what there is.

.PHONY: help test lint bench demo

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

test: ## all tests, against real servers from apt where there are any
	sh tests/install-peers.sh && cargo test

lint: ## formatting, clippy and the documentation, warnings denied
	cargo fmt --check && cargo clippy --all-targets -- -D warnings && RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps

# `cargo bench` builds the balancer too, as a release with line tables.
bench: ## beside HAProxy, nginx and Envoy, into docs/benchmarks.md; ARGS="--quick --only evenkeel,nginx" for less
	sh benches/install-peers.sh
	PATH="$$PATH:$(CURDIR)/target/peers/envoy/bin" cargo bench --bench side_by_side -- $(ARGS)

demo: ## the balancer with three small backends on loopback
	cargo run --release -- demo
