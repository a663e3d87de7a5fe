# Recipes for just (https://just.systems). Each is a command of CONTRIBUTING.md or of
# .ci/run; neither needs this file.

set shell := ["bash", "-euo", "pipefail", "-c"]
set positional-arguments

# Lists the recipes.
default:
    @just --list

# Everything a change must pass; installs what is missing.
ci:
    bash .ci/run

# Every test. CI=true makes a test fail that would be skipped.
test:
    cargo test --workspace --all-features

# The tests whose names hold a text, with what follows given to the test binary.
test-one name *args:
    cargo test --workspace --all-features "$1" -- "${@:2}"

# Formatting, clippy and the checks on dependencies.
lint:
    cargo fmt --all -- --check
    cargo clippy --workspace --all-targets --all-features -- -D warnings
    cargo clippy -p cloakroom --no-default-features -- -D warnings
    cargo deny check bans licenses sources

# The documentation, where a warning is an error.
docs *args:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps "$@"

# The book, in the browser, made again at each change.
book *args:
    mdbook serve docs "$@"

# All benches, or what the arguments choose, such as --bench stores.
bench *args:
    cargo bench -p cloakroom-benches "$@"

# Counts the instructions of what every request does, and fails where they have changed.
instructions:
    cargo run -q --release -p cloakroom-instructions

# Measures beside the peers and writes docs/speed.md, its charts and the README's figures;
# or only what the arguments say, such as report.
compare *args:
    #!/usr/bin/env bash
    set -euo pipefail
    cd benches/compare
    cargo run --release -- "$@"

# Starts the small site on each framework that has no crate here, and walks through it.
frameworks:
    #!/usr/bin/env bash
    set -euo pipefail
    cd examples/frameworks
    cargo test

# One fuzz target, for so many seconds; without one, the list.
fuzz target="" secs="60":
    #!/usr/bin/env bash
    set -euo pipefail
    cd fuzz
    if [ -z "$1" ]; then
        exec cargo +nightly fuzz list
    fi
    mkdir -p "corpus/$1"
    cargo +nightly fuzz run "$1" "corpus/$1" "seeds/$1" -- \
        -max_total_time="$2" -rss_limit_mb=4096

# Kills a process at each embedded store so often, also while it recovers from a disk that
# failed, and checks what is left.
crash kills="100":
    CLOAKROOM_CRASHES="$1" cargo test -p cloakroom-tests a_killed_ -- --nocapture

# Moves a site under load from redb to PostgreSQL so often, killing it twice each time.
migrations times="20":
    CLOAKROOM_MIGRATIONS="$1" cargo test -p cloakroom-tests a_site_that_moves_ -- --nocapture

# Moves so many live sessions from redb to PostgreSQL and on to Redis, under 200 requests a
# second, and kills what moves them twice on each way.
migrate sessions="200000":
    CLOAKROOM_LIVE_SESSIONS="$1" cargo test --release -p cloakroom-cli --all-features \
        --test operate live_sessions_ -- --nocapture

# Compares sessions and stores with models over so many random histories.
model cases="20000":
    CLOAKROOM_CASES="$1" cargo test -p cloakroom-tests model

# Looks for an order that explains what concurrent clients were answered, so often.
linearizable trials="20000":
    CLOAKROOM_TRIALS="$1" cargo test -p cloakroom-tests linearizable

# Kills and starts each server under load for so many seconds.
outage secs="120":
    CLOAKROOM_OUTAGE_SECS="$1" cargo test -p cloakroom-tests may_be_killed_and_restarted

# Moves so many sessions of each real site of another library, while ours is killed.
moving sessions="10000":
    cd tests/former-sites && CLOAKROOM_MOVES="$1" cargo test -- --nocapture --test-threads 1

# Measures sweeps among so many sessions.
sweep sessions="1000000":
    CLOAKROOM_SWEEP_SESSIONS="$1" cargo test --release -p cloakroom-tests a_sweep_

# The demo site, on http://127.0.0.1:8000 unless the arguments say otherwise.
demo *args:
    cargo run -- demo "$@"
