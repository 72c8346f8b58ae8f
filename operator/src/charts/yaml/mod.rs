//! YAML in and out, as charts need it.

mod document;
mod order;
mod read;
mod style;
mod write;

use serde::de::DeserializeOwned;

pub use document::{DEEPEST, Document, depth};
pub use read::read;
pub use write::write;

/// Why a text is not the YAML it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// Line of the mistake, counted from 1; absent where the content, not the notation, is wrong.
    pub line: Option<usize>,
    /// Column of the mistake, counted from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// Reads one YAML document of a chart into a type.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    serde_json::from_value(read(text)?).map_err(|error| YamlError {
        line: None,
        column: None,
        message: error.to_string(),
    })
}
