//! Whole passes against a double of the API server.

use clap::Parser;
use serde_json::{Value, json};

use super::ctx::Ctx;
use super::missing_rights::MissingRights;
use super::reconcile::reconcile;
use super::requeue::Action;
use crate::api::IstioOperator;
use crate::apply::fake_api_server::{Answer, FakeApiServer};
use crate::charts::Charts;
use crate::cluster::CrKey;
use crate::merge::Cluster;
use crate::serve::Health;
use crate::settings::Settings;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
}

/// A controller that knows one CR, in front of an API server that answers so.
fn controller(
    cr: &IstioOperator,
    answers: impl IntoIterator<Item = Answer>,
) -> (Ctx, FakeApiServer) {
    let api = FakeApiServer::answering(answers);
    let settings = Cli::parse_from(["run"]).settings;
    let charts = Charts::embedded().unwrap();
    let cluster = Cluster::default();
    let ctx = Ctx::new(
        &settings,
        charts,
        cluster,
        api.sender(),
        Health::default().into(),
        MissingRights::default().into(),
    )
    .unwrap();
    ctx.update(|state| state.put_cr(cr.clone().into(), true));
    (ctx, api)
}

fn cr(metadata: Value) -> IstioOperator {
    let mut cr = json!({
        "apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator",
        "metadata": {"name": "cr", "namespace": "a", "uid": "1", "generation": 1},
        "spec": {"profile": "minimal"},
    });
    if let (Some(to), Value::Object(from)) = (cr["metadata"].as_object_mut(), metadata) {
        to.extend(from);
    }
    serde_json::from_value(cr).unwrap()
}

#[tokio::test]
async fn nothing_is_installed_for_a_cr_that_is_gone_before_it_can_be_held() {
    let cr = cr(json!({}));
    let gone = Answer::Failure(404, "istiooperators.install.istio.io \"cr\" not found");
    let (ctx, api) = controller(&cr, [gone]);
    let next = Box::pin(reconcile(&ctx, &CrKey::of(&cr))).await.unwrap();
    assert_eq!(next, Action::AwaitChange);
    assert_eq!(api.calls().len(), 1, "{:?}", api.calls());
}
