//! Renders the objects that install the operator itself.

use serde_json::json;

use super::{Object, RenderError, document};
use crate::charts::Charts;

const CHART: &str = "operator";

/// Renders the namespace, the account with its rights and the Deployment that run the operator from `image` in `namespace`,
/// in the order in which they are applied. The CRD is not among them; [`crate::api::crd`] gives it. `may_restart` adds the
/// rights to restart workloads of users.
pub fn operator(
    namespace: &str,
    image: &str,
    may_restart: bool,
    charts: &Charts,
) -> Result<Vec<Object>, RenderError> {
    let minor = charts.catalogue().default_version().minor;
    let mut values = charts.defaults(CHART, minor)?;
    values["image"] = image.into();
    let context = json!({"values": values, "namespace": namespace, "mayRestart": may_restart});
    let mut objects = Vec::new();
    for output in charts.execute(CHART, context)? {
        objects.extend(document::objects(output, charts)?);
    }
    Ok(objects)
}
