//! What the API server takes: the types of Kubernetes' objects, and what it asks of their fields.
//!
//! [`problems`] finds before anything is sent what would be refused for its shape. Types come from `k8s_openapi`; the
//! tables of [`rules`] and [`relations`] hold what the types leave open. They are not complete: they state what users can
//! break with settings and overlays, and nothing that some API server takes.

mod check;
mod formats;
mod place;
mod relations;
mod rules;
mod types;

pub(super) use check::{Problem, problems};
pub(super) use place::{Place, Step};
pub(super) use types::{Type, types};
