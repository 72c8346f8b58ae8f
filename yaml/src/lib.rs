//! Reading and writing YAML.
//!
//! [`write()`] gives the bytes that Go's YAML library gives (`order` its order of keys, `style` its quotes and line breaks). This
//! keeps a promise: the operator takes over an installation of istioctl, and the texts in `ConfigMap`s that both make from
//! the same settings (mesh configuration, mesh networks, defaults of `GatewayClass`es) keep their bytes. Proxies and tools that
//! watch them see no change. `operator/tests/config_maps.rs` compares them with texts of istioctl. Nothing but quotes, line breaks and
//! order differs from what a library writes, so `render` prints objects with the same writer; a second one would be
//! slower, because it needs a tree of every object.

mod manifest;
mod order;
mod places;
mod read;
mod style;
mod write;

use serde::de::DeserializeOwned;

pub use manifest::{DEEPEST, Manifest, depth};
pub use places::places;
pub use read::read;
pub use write::write;

/// Why a text is not the YAML it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// Line of the error, counted from 1; absent where the content, not the notation, is wrong.
    pub line: Option<usize>,
    /// Column of the error, counted from 1.
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
