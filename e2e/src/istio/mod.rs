//! Istio's own programs, as upstream publishes them.

pub mod istioctl;
pub mod istiod;
