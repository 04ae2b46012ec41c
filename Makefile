# The few commands of this project. `make` and `make test` are all a newcomer needs (README.md).

PREFIX ?= /usr/local
TARGET := $(or $(CARGO_TARGET_DIR),target)
SERVER := $(TARGET)/release/redis-server
HOST   := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
FUZZ_SECONDS ?= 600
COMPAT_JOBS  ?= 2

# TLS by the libssl of the system, or else by one that is built from source (which needs perl).
TLS := $(if $(shell pkg-config --atleast-version=3.0 openssl 2>/dev/null && echo yes),tls,tls-vendored)

# A crate that builds C code runs make as well: `make install DESTDIR=...` must not reach that one.
MAKEOVERRIDES =
unexport DESTDIR PREFIX

.PHONY: build test lint asan fuzz compat install clean

build:
	cargo build --release --features $(TLS)

# Unit and property tests, end to end against the real binary, and the style of the source itself.
test:
	cargo test --profile fast --features $(TLS)

# In the profile of the tests, so that the C dependencies are compiled once for both.
lint:
	cargo fmt --check
	cargo clippy --profile fast --features $(TLS) --all-targets -- -D warnings

# The data structures, the keyspace and the scripting engine, then a short end-to-end pass (the tests whose
# name has `smoke` in it), under AddressSanitizer. Without jemalloc, which would hide every allocation from it.
# The dataset goes without its search for leaks, which does not see the pointers of six bytes in the tables.
ASAN := RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address \
        cargo test --no-default-features --features $(TLS) --target $(HOST) --target-dir $(TARGET)/asan
asan:
	$(ASAN) --lib -- ds:: scripting:: net::tls
	ASAN_OPTIONS=detect_leaks=0 $(ASAN) --lib keyspace::
	$(ASAN) --test e2e_core smoke
	ASAN_OPTIONS=detect_leaks=0 $(ASAN) --test e2e_states smoke

# Parsers of outside bytes against random input, for FUZZ_SECONDS each (tests/fuzz.rs).
fuzz:
	FUZZ_SECONDS=$(FUZZ_SECONDS) cargo test --profile fast --features $(TLS) --test fuzz fuzz_ -- --nocapture --test-threads=1

# The upstream suite (a built checkout of Redis 7.2.6 in REDIS_SRC), against the release binary.
compat: build
	@test -n "$(REDIS_SRC)" || { echo "REDIS_SRC must name a built checkout of Redis 7.2.6"; exit 2; }
	REDIS_SRC="$(REDIS_SRC)" tcl-compat/run --server $(SERVER) --all --jobs $(COMPAT_JOBS) --table tcl-compat/results.md

# Builds only when there is no binary yet, so that `sudo make install` needs no toolchain of root's.
$(SERVER):
	cargo build --release --features $(TLS)

# The other names of this binary.
NAMES := redis-sentinel redis-check-rdb redis-check-aof \
	valkey-server valkey-sentinel valkey-check-rdb valkey-check-aof

install: $(SERVER)
	install -d "$(DESTDIR)$(PREFIX)/bin"
	install -m 755 $(SERVER) "$(DESTDIR)$(PREFIX)/bin/redis-server"
	for name in $(NAMES); do \
		ln -sf redis-server "$(DESTDIR)$(PREFIX)/bin/$$name" || exit 1; \
	done

clean:
	cargo clean
