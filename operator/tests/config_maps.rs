//! The texts in `ConfigMaps` have the bytes that istioctl writes, so that taking over its installation does not change them.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use istio_operator::api::IstioOperator;
use istio_operator::charts::{Charts, yaml};
use istio_operator::merge::{Cluster, merge};
use istio_operator::render::render;
use serde_json::Value;

const CR: &str = include_str!("config_maps/cr.yaml");
const ISTIOCTL: &str = include_str!("config_maps/istioctl.yaml");

#[test]
fn config_maps_have_the_bytes_that_istioctl_writes() {
    let istioctl: Value = yaml::parse(ISTIOCTL).unwrap();
    let cr: IstioOperator = yaml::parse(CR).unwrap();
    let charts = Charts::embedded().unwrap();
    let merged = merge(
        &cr,
        istioctl["version"].as_str(),
        Cluster::default(),
        &charts,
    )
    .unwrap();
    let rendered = render(&merged, &charts).unwrap();
    let objects = rendered.components.iter().flat_map(|c| &c.objects);
    let config_maps: Vec<_> = objects.filter(|o| o.key.kind == "ConfigMap").collect();
    let text = |name: &str, key: &str| -> String {
        let config_map = config_maps.iter().find(|o| o.key.name == name).unwrap();
        let data = config_map.body.field("data");
        data[key].as_str().unwrap().to_owned()
    };
    for (name, expected) in istioctl["digests"].as_object().unwrap() {
        for (key, expected) in expected.as_object().unwrap() {
            let text = text(name, key);
            let digest = goldens::digest(&text.clone().into());
            assert_eq!(digest, expected.as_str().unwrap(), "{name} {key}\n{text}");
        }
    }
}
