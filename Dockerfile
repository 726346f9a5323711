# The image holds a static binary and the public certificate authorities, and nothing else. It has
# no shell, and nothing runs as root.
#
#   docker build -t dispatchd:0.1.0 .                                     for this machine's architecture
#   docker buildx build --platform linux/amd64,linux/arm64 -t … --push .  for both
#   docker build --build-arg FEATURES=local -t dispatchd:local .          with `run --local`, for laptops
#
# deploy/build-image.sh makes the same image without Docker and without a registry.

# This stage runs on the build machine's own architecture and compiles for either architecture. The
# base image is named by its tag, which its authors may move. To get exactly the same compiler each
# time, add the @sha256:… of your own registry.
ARG RUST_IMAGE=rust:1.95.0-bookworm
FROM --platform=$BUILDPLATFORM $RUST_IMAGE AS build
ARG TARGETARCH
ARG FEATURES=""
# Use the toolchain of this base image, without the components that rust-toolchain.toml names for
# developers.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
RUN deploy/build-binary.sh "$TARGETARCH" "$FEATURES" /out

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dispatchd" \
      org.opencontainers.image.description="A sidecar that turns a Unix socket into a durable producer for Amazon Kinesis Data Streams" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /out/dispatchd /dispatchd
COPY --from=build /out/etc /etc
# The socket's directory, for a container that mounts no volume there.
COPY --from=build --chown=65532:65532 /out/run/dispatchd /run/dispatchd
# The user is a number, because Kubernetes cannot tell whether a name is root.
USER 65532:65532
STOPSIGNAL SIGTERM
EXPOSE 16464
ENTRYPOINT ["/dispatchd"]
CMD ["run"]
