# One static binary on nothing: the charts and the CRDs are inside it.

# The toolchain of this image builds for musl, so a plain build is a static one.
FROM docker.io/library/rust:1.95-alpine AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY operator operator
COPY charts charts
COPY crds crds
COPY e2e e2e
COPY goldens goldens
COPY yaml yaml
RUN cargo build --release --locked --package istio-operator

FROM scratch
COPY --from=build /src/target/release/istio-operator /istio-operator
# A number and not a name, so that a kubelet can tell that it is not root.
USER 65532:65532
ENTRYPOINT ["/istio-operator"]
CMD ["run"]
