#!/bin/sh
# Builds every fuzz target and runs each for so long: fuzz/run.sh SECONDS [TARGET ...]
#
# Needs the stable toolchain and a C++ compiler (for libFuzzer), and neither nightly nor cargo-fuzz: what cargo-fuzz would
# pass to rustc is written out below. Without nightly there is no address sanitizer; the only `unsafe` are the pixel coder's vector instructions.
# New inputs go to fuzz/corpus (not committed), failures to fuzz/artifacts. Exit code 1 when a target failed.
set -eu
cd "$(dirname "$0")"
seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET ...]}
shift
[ $# -gt 0 ] || set -- dicom_scan chunk_cut manifest record store_recover wire_message codec_decode pixel_decode pixel_round_trip proto_ops

host=$(rustc -vV | sed -n 's/^host: //p')
# With --target, build scripts and macros are compiled without these flags: they could not be linked with them.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Clink-dead-code -Ccodegen-units=1" \
    cargo build --release --target "$host" --bins

failed=
for target in "$@"; do
    mkdir -p "corpus/$target" "artifacts/$target"
    echo "== $target"
    "target/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="artifacts/$target/" "corpus/$target" "seeds/$target" \
        >"artifacts/$target.log" 2>&1 || failed="$failed $target"
    grep -E 'stat::number_of_executed_units|stat::peak_rss_mb|panicked|ERROR|artifacts/' "artifacts/$target.log" || true
done
[ -z "$failed" ] || { echo "failed:$failed (see fuzz/artifacts)" >&2; exit 1; }
