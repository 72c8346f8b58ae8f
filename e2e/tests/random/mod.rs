//! Random valid `IstioOperator`s: fields drawn from the schema that `merge` checks CRs with.
//!
//! A field is chosen by the schema, its value by its type, and by [`samples`] where a type says too
//! little: a text that stands for an enum, a list of free-form maps.

pub mod cr;
pub mod overlays;
pub mod samples;
pub mod schema;
