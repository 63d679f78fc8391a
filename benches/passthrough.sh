#!/bin/sh
# How long 1 GiB of ordinary stderr takes through the sidecar, and through `cat`, in turn: RUNS times each (5).
#
# Needs bash and GNU time's stand-in, the shell's own `times`: only POSIX tools otherwise.

set -eu
cd "$(dirname "$0")/.."
cargo build --release --quiet
sidecar=target/release/telemetry-sidecar
data=$(mktemp)
trap 'rm -f "$data"' EXIT
head -c 1073741824 /dev/zero | tr '\0' 'x' | fold -w 100 >"$data"

worker='exec dd if="$0" bs=64k status=none 1>&2'
measure() {
    bash -c 'TIMEFORMAT="%R s wall, %U s user, %S s system"; time "$@"' measure "$@"
}
for _ in $(seq "${RUNS:-5}"); do
    printf 'sidecar: '
    { measure sh -c '"$1" -q -- sh -c "$2" "$3" 2>/dev/null' sh "$sidecar" "$worker" "$data"; } 2>&1
    printf 'cat:     '
    { measure sh -c 'sh -c "$1" "$2" 2>&1 | cat >/dev/null' sh "$worker" "$data"; } 2>&1
done
