# The image: a static binary, the public certificate authorities, nothing else; no shell, nobody is root.
#
#   docker build -t dispatchd:0.1.0 .                                     for this machine's architecture
#   docker buildx build --platform linux/amd64,linux/arm64 -t … --push .  for both
#   docker build --build-arg FEATURES=local -t dispatchd:local .          with `run --local`, for laptops
#
# deploy/build-image.sh makes the same image without Docker and without a registry.

# Compiles for either architecture on the machine's own.
# By its tag, which its authors may move: who wants the very same compiler adds @sha256:… of his own registry.
ARG RUST_IMAGE=rust:1.95.0-bookworm
FROM --platform=$BUILDPLATFORM $RUST_IMAGE AS build
ARG TARGETARCH
ARG FEATURES=""
# The toolchain that is here, without the components that rust-toolchain.toml names for developers.
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
# For a container without a volume there.
COPY --from=build --chown=65532:65532 /out/run/dispatchd /run/dispatchd
# A number: Kubernetes cannot tell that a name is not root.
USER 65532:65532
STOPSIGNAL SIGTERM
EXPOSE 16464
ENTRYPOINT ["/dispatchd"]
CMD ["run"]
