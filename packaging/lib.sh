# What the scripts of this directory share. They run from the root of the checkout.

set -eu
cd "$(dirname "$0")/.."

# An absolute path, because some tools run in another directory.
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export CARGO_TARGET_DIR
packages=$CARGO_TARGET_DIR/packages
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
# Files in packages have this time, so that the same commit makes the same packages.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
mkdir -p "$packages"

fail() {
    printf '%s: %s\n' "packaging/$(basename "$0")" "$*" >&2
    exit 1
}

need() { # COMMAND WHAT-TO-INSTALL
    command -v "$1" >/dev/null || fail "$1 is missing: install $2"
}

# Checks that there is a C compiler for a processor architecture, and has Cargo use it.
compiler_for() { # ARCHITECTURE
    case $1 in
        x86_64) need musl-gcc "musl-tools" ;;
        aarch64)
            need aarch64-linux-gnu-gcc "gcc-aarch64-linux-gnu"
            export CC_aarch64_unknown_linux_musl=aarch64-linux-gnu-gcc
            ;;
        *) fail "$1: expected x86_64 or aarch64" ;;
    esac
}

# What Debian, Go and container images call a processor architecture.
short_name() { # ARCHITECTURE
    case $1 in
        x86_64) echo amd64 ;;
        aarch64) echo arm64 ;;
        *) fail "$1: expected x86_64 or aarch64" ;;
    esac
}

# Builds the static binary for a processor architecture, unless it is up to date. Sets $target and $binary.
static_binary() { # ARCHITECTURE
    compiler_for "$1"
    target=$1-unknown-linux-musl
    binary=$CARGO_TARGET_DIR/$target/release/telemetry-sidecar
    if command -v rustup >/dev/null; then
        rustup -q target add "$target"
    fi
    cargo build --locked --release --bin telemetry-sidecar --target "$target"
}
