//! The image of proxies, which istiod injects and gateways run.

use serde_json::Value;

use super::Merged;
use super::tree::{scalar_text, set, text_at};
use crate::api::ComponentKind;
use crate::charts::tree::at;

/// The images that a pod with a proxy has.
const IMAGES: [[&str; 4]; 2] = [
    ["values", "global", "proxy", "image"],
    ["values", "global", "proxy_init", "image"],
];

impl Merged {
    /// The reference of the image of proxies without its variant, unless the spec names a whole one.
    #[must_use]
    pub fn proxy_image(&self) -> Option<String> {
        let values = self.pilot_values()?;
        let image = text_at(values, &["global", "proxy", "image"]).unwrap_or_default();
        if image.contains('/') {
            return Some(image.to_owned());
        }
        let image = if image.is_empty() { "proxyv2" } else { image };
        let text = |key: &str| at(values, &["global", key]).and_then(scalar_text);
        Some(format!("{}/{image}:{}", text("hub")?, text("tag")?))
    }

    /// The whole reference of the image of proxies.
    #[must_use]
    pub fn whole_proxy_image(&self) -> Option<String> {
        let image = self.proxy_image()?;
        let values = self.pilot_values()?;
        let is_whole =
            text_at(values, &["global", "proxy", "image"]).is_some_and(|it| it.contains('/'));
        let variant = |keys: &[&str]| text_at(values, keys).filter(|variant| !variant.is_empty());
        let variant =
            variant(&["global", "proxy", "variant"]).or_else(|| variant(&["global", "variant"]));
        Some(match variant.filter(|_| !is_whole) {
            Some(variant) => format!("{image}-{variant}"),
            None => image,
        })
    }

    /// The values of istiod's chart.
    fn pilot_values(&self) -> Option<&Value> {
        let mut components = self.components.iter();
        let pilot = components.find(|component| component.kind == ComponentKind::Pilot)?;
        Some(&pilot.values)
    }
}

/// The spec whose proxies have this image, whatever its version is.
#[must_use]
pub fn with_proxy_image(spec: &Value, image: &str) -> Value {
    let mut spec = spec.clone();
    if spec.is_object() {
        for keys in IMAGES {
            set(&mut spec, &keys, image.into());
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{IstioOperator, RawSpec};
    use crate::charts::Charts;
    use crate::merge::{Cluster, merge};

    fn image(spec: &Value) -> String {
        let charts = Charts::embedded().unwrap();
        let cr = IstioOperator::new("cr", RawSpec(spec.clone()));
        let merged = merge(&cr, Some("1.31.1"), Cluster::default(), &charts).unwrap();
        merged.whole_proxy_image().unwrap()
    }

    #[test]
    fn an_image_is_told_with_its_variant() {
        let hub = "example.com/istio";
        let of = |values: Value| image(&json!({"hub": hub, "values": values}));
        assert_eq!(of(json!({})), "example.com/istio/proxyv2:1.31.1");
        let variant = json!({"global": {"variant": "distroless"}});
        assert_eq!(of(variant), "example.com/istio/proxyv2:1.31.1-distroless");
        let whole = json!({"global": {"variant": "debug", "proxy": {"image": "example.org/p:1"}}});
        assert_eq!(of(whole), "example.org/p:1");
        let named = json!({"global": {"proxy": {"image": "mine"}}});
        assert_eq!(of(named), "example.com/istio/mine:1.31.1");
    }

    #[test]
    fn a_held_image_is_that_of_all_proxies() {
        let held = with_proxy_image(&json!({"hub": "example.com"}), "example.com/proxyv2:1.30.5");
        assert_eq!(image(&held), "example.com/proxyv2:1.30.5");
        assert_eq!(
            held["values"]["global"]["proxy_init"]["image"],
            "example.com/proxyv2:1.30.5"
        );
        assert_eq!(with_proxy_image(&Value::Null, "a"), Value::Null);
    }
}
