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

pub mod audit;
pub mod binaries;
pub mod client;
pub mod components;
pub mod control_plane;
pub mod cr;
pub mod drift;
pub mod error;
pub mod fields;
pub mod gate;
pub mod health;
pub mod history;
pub mod injectors;
pub mod inventory;
pub mod istioctl;
pub mod istiod;
pub mod loopback;
pub mod operator;
pub mod ports;
pub mod process;
pub mod progress;
pub mod wait;
pub mod workspace;
pub mod yaml;

mod credentials;
mod egress;
mod kubectl;
mod stand_in;
mod watchdog;
