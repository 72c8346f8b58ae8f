//! What tests read from a cluster.

pub mod audit;
pub mod gitops;
pub mod health;
pub mod history;
pub mod injection_webhooks;
pub mod inventory;
pub mod managed_fields;
