# `make test` is the whole of it: it installs what is missing and runs everything a change must pass.

.PHONY: demo test lint deny bench fuzz dist

demo:
	cargo run --release -- demo

test:
	scripts/test

lint:
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets --features rangegate-benches/memory -- -D warnings

deny:
	scripts/deny

# Minutes, and best on a quiet machine. `cargo run` lines for single parts: benches/README.md.
bench:
	cargo build --profile dist
	cargo run --release -p rangegate-benches --features decide --bin decide
	cargo run --profile dist -p rangegate-benches --features memory --bin walk
	cargo run --profile dist -p rangegate-benches --features memory --bin walk -- --stores
	cargo run --profile dist -p rangegate-benches --features memory --bin memory
	cargo run --profile dist -p rangegate-benches --features memory --bin live

# One target for as long as one likes: `make fuzz TARGET=sanitize`. See fuzz/README.md.
TARGET ?= sanitize
fuzz:
	cargo fuzz run --sanitizer none $(TARGET)

# What is shipped: target/shipped/rangegate. Wants nginx, for the work it is guided by.
dist:
	scripts/dist
