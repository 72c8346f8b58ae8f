//! Issue 11 row 5: whichever rule the operator's roles lose, the status names the right that is missing, everything else goes on, and
//! nothing is left to do once it is given back. No rule is without effect. The lease is not among them: istiod needs leases too, so the rights
//! to grant hold it.

use std::time::Instant;

use e2e::{
    actions::{
        api_proxy::ApiProxy,
        cr::Cr,
        rights::{Right, Rights},
    },
    control_plane::ControlPlane,
    observe::{
        health::condition,
        inventory::{Inventory, Item, OWNER},
    },
    operator::Operator,
    wait::wait_until,
};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::{Client, api::DeleteParams};
use serde_json::{Value, json};

use crate::{
    SOON, accepted_objects::FOREIGN, healthy, manifest, revisions_in_use::gateway_api,
    rights_to_grant,
};

/// What addons keep their data on.
const VOLUME: &str = "
apiVersion: v1
kind: PersistentVolume
metadata: {name: metrics}
spec: {capacity: {storage: 2Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /metrics}}
";

/// An installation with objects of every kind, but for those of addons.
fn mesh() -> Value {
    json!({
        "profile": "default",
        "components": {"cni": {"enabled": true}},
        "values": {
            "cni": {"provider": "multus", "resourceQuotas": {"enabled": true}},
            "experimental": {"stableValidationPolicy": true},
            "global": {"networkPolicy": {"enabled": true}},
        },
    })
}

/// A mesh whose control plane runs elsewhere.
fn remote() -> Value {
    json!({
        "profile": "remote",
        "revision": "away",
        "values": {"global": {"remotePilotAddress": "192.0.2.10"}},
    })
}

/// A control plane of its own whose version and revision change.
fn changing(revision: &str, version: &str) -> Value {
    json!({
        "profile": "minimal",
        "revision": revision,
        "version": version,
        "updateStrategy": {"inactiveRevisionGracePeriod": "0s"},
    })
}

/// An installation whose operator loses rights.
struct Cluster {
    plane: ControlPlane,
    client: Client,
    proxy: ApiProxy,
    operator: Operator,
    rights: Rights,
    inventory: Inventory,
    mesh: Cr,
    /// Objects that are taken away to see whether they come back, the next one first.
    bystanders: Vec<Item>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_right_is_missed_by_name_and_nothing_else_breaks() {
    let begun = Instant::now();
    let mut cluster = Cluster::start().await;
    let Cluster { mesh, rights, .. } = &cluster;
    rights_to_grant::each_is_named_when_it_is_missing(mesh, rights).await;
    println!("rights to grant: {:?}", begun.elapsed());

    let changing_cr = cluster.install().await;
    let rules = cluster.rights.rules("istio-operator");
    for rule in &rules {
        let round = Instant::now();
        cluster.rights.take(&Right::of(rule)).await.unwrap();
        let missed = cluster.provoke(rule, &changing_cr).await;
        cluster.until_told(&missed).await;
        cluster.something_else_comes_back(rule).await;
        println!("{:?}: {missed:?}", round.elapsed());
    }
    cluster.rights.give_back().await.unwrap();
    let back = json!({"spec": {"version": "1.31"}});
    changing_cr.patch(&back).await.unwrap();
    cluster.is_whole_again(&changing_cr).await;
    println!("{:?}", begun.elapsed());
}

impl Cluster {
    async fn start() -> Self {
        let plane = ControlPlane::reuse_or_start().await.unwrap();
        plane.apply(&format!("{FOREIGN}\n---\n{VOLUME}")).unwrap();
        gateway_api(&plane);
        let proxy = ApiProxy::start(&plane.kubeconfig()).await.unwrap();
        let operator = Operator::start_behind(&plane, &proxy).await.unwrap();
        let client = plane.client().await.unwrap();
        let roles = ["istio-operator", "istio-operator-grants"];
        let rights = Rights::read(client.clone(), &roles, operator.user());
        let empty = manifest("mesh", &json!({"profile": "empty"})).to_string();
        Self {
            rights: rights.await.unwrap(),
            mesh: Cr::apply(&plane, &empty).await.unwrap(),
            inventory: plane.inventory().await.unwrap(),
            bystanders: Vec::new(),
            plane,
            client,
            proxy,
            operator,
        }
    }

    /// Installs what every right is needed for; gives the control plane that changes.
    async fn install(&mut self) -> Cr {
        self.mesh.replace_spec(&mesh()).await.unwrap();
        let crs = [
            manifest("remote", &remote()),
            manifest("changing", &changing("old", "1.30")),
        ];
        healthy(&self.plane, &crs[0].to_string()).await;
        let changing = healthy(&self.plane, &crs[1].to_string()).await;
        self.mesh.wait_for("HEALTHY", SOON).await.unwrap();
        // The operator finds kinds that were not served when it started.
        self.operator.process().restart().unwrap();
        self.operator.wait_until_ready().await.unwrap();
        self.answers("after the restart").await;
        self.inventory = self.plane.inventory().await.unwrap();
        // What belonged to the revision of a CR that changes its revision is not made again.
        let is_of_changing = |item: &Item| {
            let labels = item.object.metadata.labels.as_ref();
            labels
                .and_then(|labels| labels.get(OWNER))
                .is_some_and(|owner| owner == "changing")
        };
        self.bystanders = self.inventory.owned().await.unwrap();
        self.bystanders.retain(|item| !is_of_changing(item));
        changing
    }

    /// Asks for a pass, and waits until it was made.
    async fn answers(&self, request: &str) {
        let annotation = json!({"reconcile.istio-operator.io/requestedAt": request});
        let change = json!({"metadata": {"annotations": annotation}});
        self.mesh.patch(&change).await.unwrap();
        wait_until("an answer", SOON, || async {
            let mesh = self.mesh.get().await.map_err(|error| error.to_string())?;
            match &mesh.data["status"]["lastHandledReconcileAt"] {
                answer if answer == request => Ok(()),
                other => Err(other.to_string()),
            }
        })
        .await
        .unwrap();
    }

    /// Does what needs the rights of a rule; gives what the status has to name.
    async fn provoke(&self, rule: &PolicyRule, changing_cr: &Cr) -> Vec<String> {
        let patch = async |cr: &Cr, change: Value| drop(cr.patch(&change).await.unwrap());
        let rights = Right::of(rule);
        let first = rights.first().unwrap();
        let mut missed: Vec<String> = Vec::new();
        match (first.group.as_str(), first.resource.as_str()) {
            ("install.istio.io", "istiooperators") => {
                let late = manifest("late", &json!({"profile": "empty"}));
                Cr::apply(&self.plane, &late.to_string()).await.unwrap();
                missed.push("patch istiooperators.install.istio.io".into());
            }
            ("install.istio.io", "istiooperators/status") => {
                let request = json!({"reconcile.istio-operator.io/requestedAt": "now"});
                patch(&self.mesh, json!({"metadata": {"annotations": request}})).await;
                missed.push("patch istiooperators.install.istio.io/status".into());
            }
            ("", "persistentvolumeclaims") => {
                let addon = json!({"prometheus": {"storage": {"size": "1Gi"}}});
                patch(&self.mesh, json!({"spec": {"addonComponents": addon}})).await;
                missed.push("patch persistentvolumeclaims".into());
            }
            ("", "secrets") => {
                let addon = json!({"kiali": {}});
                patch(&self.mesh, json!({"spec": {"addonComponents": addon}})).await;
                missed.push("create secrets".into());
            }
            ("", "namespaces") => {
                let gateway = json!({"name": "inner", "namespace": "inner", "enabled": true});
                let gateways = json!({"ingressGateways": [gateway]});
                patch(changing_cr, json!({"spec": {"components": gateways}})).await;
                missed.push("get namespaces".into());
            }
            ("", "pods") if first.verb == "create" => {
                patch(changing_cr, json!({"spec": {"version": "1.31"}})).await;
                missed.push("create pods".into());
            }
            ("networking.istio.io", "envoyfilters") => {
                // A step that is refused, so that the control plane stays as it is: two minors at once.
                patch(changing_cr, json!({"spec": {"version": "1.28"}})).await;
                missed.push(first.told());
            }
            ("apps", "statefulsets") => {
                patch(changing_cr, json!({"spec": {"revision": "new"}})).await;
                missed.push(first.told());
            }
            ("batch" | "argoproj.io", _) => missed.push(first.told()),
            ("events.k8s.io", _) => {
                let nothing = json!({"kind": "Service", "name": "none", "patches": []});
                let pilot = json!({"k8s": {"overlays": [nothing]}});
                patch(
                    &self.mesh,
                    json!({"spec": {"components": {"pilot": pilot}}}),
                )
                .await;
                missed.push("create events.events.k8s.io".into());
            }
            _ => missed.extend(self.take_one(rule).await),
        }
        self.until_told(&missed).await;
        let watched = rights.iter().filter(|right| right.verb == "watch");
        let watched: Vec<_> = watched.map(Right::told).collect();
        if !watched.is_empty() {
            self.proxy.end_watches();
        }
        missed.extend(watched);
        missed
    }

    /// Deletes an object that a rule is about; gives the right by which it would come back. One is enough, because others may wait for it.
    async fn take_one(&self, rule: &PolicyRule) -> Option<String> {
        let rights = Right::of(rule);
        let patches = rights.iter().filter(|right| right.verb == "patch");
        let patches: Vec<_> = patches.collect();
        if patches.is_empty() {
            return None;
        }
        let owned = self.inventory.owned().await.unwrap();
        for right in patches {
            let is_meant = |item: &&Item| {
                item.resource.group == right.group && item.resource.plural == right.resource
            };
            if let Some(item) = owned.iter().rev().find(is_meant) {
                self.delete(item).await;
                return Some(right.told());
            }
        }
        None
    }

    /// While the right is missing, an object of another kind comes back.
    async fn something_else_comes_back(&mut self, rule: &PolicyRule) {
        let rights = Right::of(rule);
        let is_other = |item: &Item| {
            // A role comes back only as long as nothing is missing that it grants.
            let is_light = [
                "ConfigMap",
                "HorizontalPodAutoscaler",
                "NetworkPolicy",
                "PodDisruptionBudget",
                "Service",
                "ServiceAccount",
            ];
            let about = |right: &Right| {
                right.group == item.resource.group && right.resource == item.resource.plural
            };
            is_light.contains(&item.resource.kind.as_str()) && !rights.iter().any(about)
        };
        let index = self.bystanders.iter().position(is_other).unwrap();
        let item = self.bystanders.remove(index);
        self.delete(&item).await;
        let api = item.api(self.client.clone());
        let name = item.object.metadata.name.clone().unwrap();
        wait_until(&format!("{} to come back", item.name()), SOON, || async {
            let found = api
                .get_opt(&name)
                .await
                .map_err(|error| error.to_string())?;
            found.map(drop).ok_or_else(|| format!("without {rule:?}"))
        })
        .await
        .unwrap();
        // Others have their turn first.
        self.bystanders.push(item);
    }

    async fn delete(&self, item: &Item) {
        let name = item.object.metadata.name.as_deref().unwrap();
        let api = item.api(self.client.clone());
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until the CR names all of these rights, or an Event does where the status cannot.
    async fn until_told(&self, missed: &[String]) {
        let what = format!("the status to name {missed:?}");
        wait_until(&what, SOON, || async {
            let cr = self.mesh.get().await.map_err(|error| error.to_string())?;
            let told = condition(&cr.data, "RightsMissing")["message"].as_str();
            let mut told = vec![told.unwrap_or_default().to_owned()];
            if missed.iter().any(|right| right.ends_with("/status")) {
                let events = self.mesh.events_with_reason("RightsMissing").await;
                let events = events.map_err(|error| error.to_string())?;
                told.extend(events.into_iter().filter_map(|event| event.message));
            }
            let names = |text: &String, right: &String| {
                let (_, named) = text.split_once("may not: ").unwrap_or_default();
                named.split(", ").any(|named| named == right)
            };
            let names_all = |text: &String| missed.iter().all(|right| names(text, right));
            if told.iter().any(names_all) {
                Ok(())
            } else {
                Err(told.join("; "))
            }
        })
        .await
        .unwrap();
    }

    /// With all rights given back, nothing is missed, and everything is there.
    async fn is_whole_again(&self, changing_cr: &Cr) {
        let crs = [&self.mesh, changing_cr];
        for cr in crs {
            cr.wait_for_no_condition("RightsMissing", SOON)
                .await
                .unwrap();
            cr.wait_for("HEALTHY", SOON).await.unwrap();
        }
        let mesh = self.mesh.get().await.unwrap();
        assert_eq!(mesh.data["status"]["lastHandledReconcileAt"], "now");
        let owned = self.inventory.owned().await.unwrap();
        let names: Vec<_> = owned.iter().map(Item::name).collect();
        for item in &self.bystanders {
            assert!(names.contains(&item.name()), "{} is gone", item.name());
        }
    }
}
