//! The settings that Istio removed or calls deprecated: the table `charts/schema/removed.yaml`.

use serde::Deserialize;

/// One row of the table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemovedSetting {
    /// Where it stands below `spec`, with `[]` for each element of a list.
    pub path: String,
    /// The last minor that had it, such as `1.7`; none if Istio still has it, and only calls it deprecated.
    pub last: Option<String>,
    /// The minor that began to call it deprecated, if the oldest one that we know does not.
    since: Option<String>,
    /// What replaces it.
    #[serde(rename = "use")]
    replacement: Option<String>,
    /// Whether what replaces it is one field that takes the same value.
    #[serde(default)]
    same: bool,
}

impl RemovedSetting {
    /// Whether it is removed or deprecated in a minor.
    #[must_use]
    pub fn concerns(&self, minor: u16) -> bool {
        let since = self
            .since
            .as_deref()
            .and_then(crate::catalogue::parse_minor);
        since.is_none_or(|since| since <= minor)
    }

    /// The field below `spec` that takes its value today, if one does.
    #[must_use]
    pub fn successor(&self) -> Option<&str> {
        let field = self.replacement.as_deref().filter(|_| self.same)?;
        Some(field.strip_prefix("spec.").unwrap_or(field))
    }

    /// What happened to it and what to do, for somebody who uses it.
    #[must_use]
    pub fn story(&self) -> String {
        let what = match &self.last {
            Some(last) => format!("was removed after Istio {last}"),
            None => "is deprecated".to_owned(),
        };
        match &self.replacement {
            Some(replacement) => format!("{what}; use {replacement}"),
            None => format!("{what}, and nothing replaces it"),
        }
    }
}
