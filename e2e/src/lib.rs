//! The local control plane: real Kubernetes and Istio binaries on loopback, for the demo and the scenario tests.
