//! What tests do to a cluster.

pub mod admission_policy;
pub mod api_proxy;
pub mod cr;
pub mod damage;
pub mod rights;
