#!/usr/bin/env bash
# Builds the image without Docker and without a registry: the binary is compiled here, as the
# Dockerfile compiles it, and buildah builds the Dockerfile's last stage from it.
#
#   deploy/build-image.sh [amd64|arm64]      default: this machine's
#
# Leaves an OCI layout in target/image/oci, tagged with the version and the architecture. To publish
# it:
#   skopeo copy oci:target/image/oci:0.1.0-amd64 docker://registry.example.com/dispatchd:0.1.0-amd64
#
# The same binary and commit give the same digest. The script prints the digest, so that you can
# deploy by it. FEATURES=local in the environment compiles that feature in. Needs Rust, gcc and
# root. Installs buildah.
set -euo pipefail
cd "$(dirname "$0")/.."

arch="${1:-$(dpkg --print-architecture)}"
version="$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)"
work="$PWD/target/image"
# Outside of a checkout the revision in the image is "unknown".
revision="$(git rev-parse HEAD 2>/dev/null || echo unknown)"
committed="$(git log -1 --format=%ct 2>/dev/null || echo 0)"

deploy/build-binary.sh "$arch" "${FEATURES:-}" "$work/out"

if ! command -v buildah >/dev/null; then
    apt-get update
    apt-get install -y --no-install-recommends buildah
fi
# buildah's storage is below target too, and is removed when the image is made: nothing else on this
# machine changes.
storage=(--storage-driver vfs --root "$work/storage" --runroot "$work/runroot")
trap 'rm -rf "$work/storage" "$work/runroot"' EXIT
sed -n '/^FROM scratch/,$ { s|--from=build ||; s|/out/|out/|; p }' Dockerfile >"$work/Dockerfile"
buildah "${storage[@]}" build --isolation chroot --pull=never --arch "$arch" \
    --timestamp "$committed" --build-arg VERSION="$version" --build-arg REVISION="$revision" \
    --tag "localhost/dispatchd:$version-$arch" --file "$work/Dockerfile" "$work"
buildah "${storage[@]}" push --digestfile "$work/digest" "localhost/dispatchd:$version-$arch" "oci:$work/oci:$version-$arch"
echo "dispatchd:$version-$arch is $(cat "$work/digest")"
