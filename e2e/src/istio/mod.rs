//! Istio's own programs, as upstream publishes them, and the mesh that they make together.

pub mod app;
pub mod captured;
pub mod charts;
pub mod ingress;
pub mod istioctl;
pub mod istiod;
pub mod mesh;
pub mod node;
pub mod pod_process;
pub mod proxy;
pub mod release;
