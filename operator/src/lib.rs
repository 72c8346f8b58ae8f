//! The Istio operator: an `IstioOperator` resource becomes a running Istio.
//!
//! ```text
//! IstioOperator --merge--> Merged --render--> Rendered --plan(+ Live)--> Plan --apply--> Applied --status--> IstioOperatorStatus
//! ```
//!
//! The modules stand in the order of that pipeline, and none imports one that stands later.

pub mod parallel;

pub mod api;

pub mod catalogue;
pub mod charts;

pub mod merge;

pub mod render;

pub mod cluster;

pub mod dataplane;

pub mod plan;

pub mod apply;

pub mod status;

pub mod lease;
pub mod serve;
pub mod settings;
pub mod telemetry;

pub mod controller;
