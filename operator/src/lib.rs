//! The Istio operator: an `IstioOperator` resource becomes a running Istio.
//!
//! ```text
//! IstioOperator --merge--> Merged --render--> Rendered --plan(+ Live)--> Plan --apply--> Applied --status--> IstioOperatorStatus
//! ```
//!
//! The modules stand in the order of that pipeline, and none imports one that stands later.

pub mod api;
pub mod apply;
pub mod catalogue;
pub mod charts;
pub mod controller;
pub mod lease;
pub mod merge;
pub mod plan;
pub mod render;
pub mod serve;
pub mod settings;
pub mod status;
pub mod telemetry;
