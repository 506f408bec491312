#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One library of the crate beside this file: build.sh CARGO FEATURE OUTPUT. What cargo makes on the way stays in one folder
# for every build on this machine ($BERTH_CARGO_TARGET, else in the user's cache): a clean clone does not compile
# the engine again.
set -eu
cargo=$1 feature=$2 output=$3
crate=$(dirname "$(readlink -f "$0")")
target=${BERTH_CARGO_TARGET:-${XDG_CACHE_HOME:-$HOME/.cache}/berth/cargo}
PATH=$(dirname "$cargo"):$PATH # its own rustc, not another's
export PATH
mkdir -p "$target"
exec 9>"$target/.berth-lock" # both libraries have the same name there, until each is copied
flock 9
# Cargo tells our crate's sources by their times, and takes those of another tree for the same: by their bytes, then.
sum=$(cat "$crate"/Cargo.* "$crate"/src/*.rs | sha256sum | cut -c 1-16)
"$cargo" rustc --quiet --lib --locked --release --manifest-path "$crate/Cargo.toml" --target-dir "$target" \
    --no-default-features --features "$feature" -- -C "metadata=$sum"
cp "$target/release/libberth_wasm.a" "$output"
