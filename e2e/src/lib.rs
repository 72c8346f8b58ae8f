//! The local control plane: real Kubernetes and Istio programs on loopback, for the demo and the
//! scenario tests. No container runtime and no cluster are needed; Go builds the programs once.
//!
//! ```no_run
//! # async fn example() -> Result<(), e2e::error::Error> {
//! use e2e::control_plane::ControlPlane;
//!
//! let plane = ControlPlane::start().await?;
//! plane.apply("{apiVersion: v1, kind: Namespace, metadata: {name: istio-system}}")?;
//! println!("{}", plane.kubectl(["get", "namespaces"])?);
//! # Ok(()) }
//! ```

pub mod actions;
pub mod addons;
pub mod bookinfo;
pub mod control_plane;
pub mod error;
pub mod gitops;
pub mod host;
pub mod istio;
pub mod observe;
pub mod operator;
pub mod wait;
pub mod yaml;
