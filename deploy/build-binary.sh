#!/usr/bin/env bash
# Puts everything that goes into the image below OUT: the static binary, the public certificate
# authorities, the socket's directory. The Dockerfile runs it, and so does build-image.sh.
#
#   deploy/build-binary.sh amd64|arm64 FEATURES OUT      FEATURES: local, or "" as for production
#
# The binary is linked with glibc, not with musl: the tests and the published figures use glibc, and
# musl's allocator takes one lock for all threads. Static glibc looks names up through /etc/hosts
# and /etc/resolv.conf without a library on disk (tests/packaging/image.rs). Random numbers come from the
# system call: by default the getrandom crate looks for it in a shared libc, which a static binary
# does not have, and then opens /dev/urandom.
#
# The binary's relocations are stored in the compact form (RELR), which saves 0.7 MB.
#
# Needs Rust, gcc and root. Installs the cross compiler for the other architecture.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ $# != 3 ]]; then
    echo "usage: deploy/build-binary.sh amd64|arm64 FEATURES OUT" >&2
    exit 2
fi
features="$2" out="$3"
case "$1" in
amd64) cpu=x86_64 ;;
arm64) cpu=aarch64 ;;
*)
    echo "no image is made for $1: choose amd64 or arm64" >&2
    exit 2
    ;;
esac
target="$cpu-unknown-linux-gnu"

install() {
    apt-get update
    apt-get install -y --no-install-recommends "$@"
}
[[ -d /usr/share/ca-certificates/mozilla ]] || install ca-certificates
if [[ $cpu != "$(uname -m)" ]]; then
    command -v "$cpu-linux-gnu-gcc" >/dev/null || install "gcc-${cpu/_/-}-linux-gnu" "libc6-dev-$1-cross"
    rustup target add "$target"
    export "CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_LINKER=$cpu-linux-gnu-gcc"
fi

RUSTFLAGS='-C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom" -C link-arg=-Wl,-z,pack-relative-relocs' \
    cargo build --locked --release --no-default-features --features "$features" --target "$target"

rm -rf "$out"
mkdir -p "$out/etc/ssl/certs" "$out/run/dispatchd"
cp "target/$target/release/dispatchd" "$out/dispatchd"
# The authorities of the package itself, and none that were added on this machine.
cat /usr/share/ca-certificates/mozilla/*.crt >"$out/etc/ssl/certs/ca-certificates.crt"
