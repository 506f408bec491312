#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds with sanitizers and what runs under them: everything with ASan and UBSan, the threaded cases
# with TSan. Ends with "N passed, N failed". Arguments: asan, tsan (default: both).
set -u
cd "$(dirname "$0")/.."
passed=0 failed=0

# A report of this tree's own processes ends in a file: silence is the test. berth's programs, which get
# neither our environment nor our standard error, die of what is found, and their case fails.
reports=$(mktemp -d "${TMPDIR:-/tmp}/berth-sanitize-XXXXXX")
trap 'rm -rf "$reports"' EXIT
export ASAN_OPTIONS="log_path=$reports/asan:detect_leaks=0:detect_stack_use_after_return=0:abort_on_error=0"
export UBSAN_OPTIONS="log_path=$reports/ubsan:print_stacktrace=1:halt_on_error=1"
export TSAN_OPTIONS="log_path=$reports/tsan:halt_on_error=0:exitcode=0:die_after_fork=0"

build() {
    local folder=$1 kinds=$2
    [ -e "$folder/build.ninja" ] || meson setup "$folder" -Db_sanitize="$kinds" -Db_lundef=false \
        -Dc_args=-fno-sanitize-recover=all >"$reports/setup" 2>&1 || { cat "$reports/setup"; return 1; }
    ninja -C "$folder" ${NINJA_OPTIONS:-} >"$reports/ninja" 2>&1 || { tail -n 30 "$reports/ninja"; return 1; }
}

# step NAME COMMAND...: the command succeeds, and no process had anything to report
step() {
    local name=$1
    shift
    rm -f "$reports"/*san.*
    if "$@" >"$reports/output" 2>&1 && ! compgen -G "$reports/*san.*" >/dev/null; then
        passed=$((passed + 1))
        echo "ok - $name"
    else
        failed=$((failed + 1))
        echo "not ok - $name"
        grep -E '^not ok|^  |FAIL|failed' "$reports/output" | head -n 40 | sed 's/^/    /'
        head -n 60 "$reports"/*san.* 2>/dev/null | sed 's/^/    /'
    fi
}

contract() {
    local folder=$1
    shift
    BERTH_PROGRAMS=$PWD/$folder/programs "$folder/tests/contract/berth-contract" --timeout 120 "$@"
}

asan() {
    build build-asan address,undefined || { failed=$((failed + 1)); return; }
    step "unit tests, address and undefined" meson test -C build-asan --no-rebuild --suite unit --print-errorlogs -t 5
    step "contract of fake, address and undefined" contract build-asan --engine fake
    step "contract of container, address and undefined" contract build-asan --engine container
}

tsan() {
    build build-tsan thread || { failed=$((failed + 1)); return; }
    step "threads over fake" contract build-tsan --engine fake --filter '*threads*'
    step "threads over container" contract build-tsan --engine container --filter '*threads*'
}

[ $# -gt 0 ] || set -- asan tsan
for kind in "$@"; do "$kind"; done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
