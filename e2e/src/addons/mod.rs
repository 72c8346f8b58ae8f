//! The real programs of addons, run as processes on what the operator installed.

pub mod pod_proxy;
pub mod prometheus;
pub mod samples;
pub mod zipkin;
