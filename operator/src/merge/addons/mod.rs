//! Addons: what a CR asks for, under new names and old ones, and how they find each other and the mesh.
//!
//! The charts get real names and URLs as values, so that an addon works in any namespace.

mod mesh;
mod old;
mod settings;

use serde_json::{Value, json};

use super::tree::text_at;
use crate::api::{ComponentKind, format::Url};
use crate::charts::tree::at;

pub(super) use mesh::{Tracing, field as mesh_field, wire as wire_mesh};
pub(super) use old::{PROVIDER, SECTIONS, translate};
pub(super) use settings::values;

/// What the addons of one CR have to know of each other.
#[derive(Clone, Copy)]
pub(super) struct Addons<'a> {
    /// The merged spec, with old names translated.
    pub spec: &'a Value,
    /// The namespace of addons that name none.
    pub namespace: &'a str,
}

impl<'a> Addons<'a> {
    /// The settings of an addon that is installed.
    pub fn get(self, kind: ComponentKind) -> Option<&'a Value> {
        let written = at(self.spec, &kind.spec_keys())?;
        let is_on = written.is_object() && written.get("enabled") != Some(&Value::Bool(false));
        is_on.then_some(written)
    }

    /// Whether any addon is installed.
    pub fn any(self) -> bool {
        let mut kinds = ComponentKind::ALL.into_iter();
        kinds.any(|kind| kind.is_addon() && self.get(kind).is_some())
    }

    /// The namespace of an addon that is installed.
    pub fn namespace_of(self, kind: ComponentKind) -> Option<&'a str> {
        let written = self.get(kind)?;
        Some(text_at(written, &["namespace"]).unwrap_or(self.namespace))
    }

    /// The URL at which workloads of the cluster reach the Service of an addon, with the path that the addon serves.
    pub fn url(self, kind: ComponentKind, service: &str, port: u16) -> Option<String> {
        let namespace = self.namespace_of(kind)?;
        let path = self.path(kind);
        Some(format!("http://{service}.{namespace}:{port}{path}"))
    }

    /// The path that an addon serves: that of its URL, or its own.
    pub fn path(self, kind: ComponentKind) -> &'a str {
        let usual = match kind {
            ComponentKind::Jaeger => "/jaeger",
            ComponentKind::Kiali => "/kiali",
            _ => "",
        };
        self.external_url(kind).map_or(usual, |url| url.path)
    }

    /// The URL at which people reach an addon from outside.
    pub fn external_url(self, kind: ComponentKind) -> Option<Url<'a>> {
        text_at(self.get(kind)?, &["externalURL"]).and_then(Url::read)
    }

    /// Whether an addon lets everybody in without a login.
    pub fn is_anonymous(self, kind: ComponentKind) -> bool {
        let has_login = matches!(kind, ComponentKind::Grafana | ComponentKind::Kiali);
        !has_login
            || self
                .get(kind)
                .and_then(|written| text_at(written, &["auth"]))
                == Some("Anonymous")
    }

    /// Whether Kiali and Grafana are in one namespace, so that a pod of the one can read a Secret of the other.
    pub fn share_namespace(self, one: ComponentKind, other: ComponentKind) -> bool {
        let namespace = self.namespace_of(one);
        namespace.is_some() && namespace == self.namespace_of(other)
    }
}

/// An absent text as null.
fn or_null(text: Option<impl Into<String>>) -> Value {
    text.map_or(Value::Null, |text| json!(text.into()))
}
