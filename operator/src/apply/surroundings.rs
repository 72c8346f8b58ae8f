//! Reads what is around Istio before a step. What cannot be read is told, and holds nothing up.

use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;

use super::{ApplyError, Sender};
use crate::dataplane::Budget;
use crate::plan::{EnvoyFilter, Surroundings};
use crate::render::Rendered;

/// `EnvoyFilter`s per page of a list; some are large.
const PAGE: u32 = 50;

impl Sender {
    /// Reads what a step to `rendered` depends on and no watch tells.
    pub async fn surroundings(&self, rendered: &Rendered) -> Surroundings {
        let budgets = self.budgets_around(rendered).await;
        let envoy_filters = self.envoy_filters().await;
        Surroundings {
            budgets: budgets.map_err(|error| format!("PodDisruptionBudgets: {error}")),
            envoy_filters: envoy_filters.map_err(|error| format!("EnvoyFilters: {error}")),
        }
    }

    async fn budgets_around(&self, rendered: &Rendered) -> Result<Vec<Budget>, ApplyError> {
        let mut budgets = Vec::new();
        for namespace in Surroundings::namespaces(rendered) {
            budgets.extend(self.budgets(namespace).await?);
        }
        Ok(budgets)
    }

    async fn envoy_filters(&self) -> Result<Vec<EnvoyFilter>, ApplyError> {
        let gvk = GroupVersionKind::gvk("networking.istio.io", "v1alpha3", "EnvoyFilter");
        let resource = ApiResource::from_gvk_with_plural(&gvk, "envoyfilters");
        let api: Api<DynamicObject> = Api::all_with(self.client().clone(), &resource);
        let mut params = ListParams::default().limit(PAGE);
        let mut filters = Vec::new();
        loop {
            let page = self.read(api.list(&params)).await?;
            let found = page.items.iter();
            filters.extend(found.map(|found| EnvoyFilter::read(&found.metadata, &found.data)));
            match page.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => params.continue_token = Some(next),
                None => return Ok(filters),
            }
        }
    }
}
