//! Rights that the operator lacks.
//!
//! Every answer that denies a right is noted, whoever asked, so no request needs a way of its own to tell it. The API server denies for
//! a moment what was just granted. So it is asked once more before anything is told, and again until the right is there.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use kube::client::Body;
use tokio::sync::Notify;
use tower::service_fn;

use super::ctx::Ctx;
use crate::api::condition::reason;
use crate::apply::ApplyError;
use crate::cluster::CrKey;
use crate::status::{StatusEvent, missing_rights_message};

/// How long after an answer the API server is asked whether the right is missing.
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// How often it is asked whether a missing right is there.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// What any user may ask by default; who may not learns nothing by asking again.
const REVIEWS: &str = "selfsubjectaccessreviews";

/// One verb on the objects of one kind, in a namespace or in all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    group: String,
    /// The plural name.
    resource: String,
    /// Empty for the objects themselves.
    subresource: String,
    verb: String,
    namespace: Option<String>,
}

impl Right {
    /// The right that an answer says is missing; none if it refuses for another reason.
    fn denied(message: &str) -> Option<Self> {
        let (_, denied) = message.split_once(" cannot ")?;
        let (verb, denied) = denied.split_once(" resource \"")?;
        let (resource, denied) = denied.split_once("\" in API group \"")?;
        let (group, scope) = denied.split_once('"')?;
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let namespace = scope.strip_prefix(" in the namespace \"");
        let namespace = namespace.and_then(|rest| rest.split('"').next());
        let right = Self {
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            verb: verb.to_owned(),
            namespace: namespace.map(str::to_owned),
        };
        (right.resource != REVIEWS).then_some(right)
    }

    /// Whether it is the one by which statuses are written.
    fn is_of_statuses(&self) -> bool {
        self.resource == "istiooperators" && self.subresource == "status" && self.verb == "patch"
    }
}

/// As `kubectl auth can-i` takes it, such as `list deployments.apps`.
impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        Ok(())
    }
}

/// The rights that were denied.
#[derive(Debug, Default)]
pub struct MissingRights {
    rights: Mutex<Rights>,
    denied: Notify,
}

#[derive(Debug, Default)]
struct Rights {
    /// An answer denied them, and it was not asked again yet.
    suspected: BTreeSet<Right>,
    missing: BTreeSet<Right>,
}

impl MissingRights {
    /// A client whose answers are looked at.
    pub fn client(self: &Arc<Self>, client: Client) -> Client {
        let namespace = client.default_namespace().to_owned();
        let rights = Arc::clone(self);
        let service = service_fn(move |request: Request<Body>| {
            let (rights, client) = (Arc::clone(&rights), client.clone());
            async move {
                let answer = client.send(request).await?;
                if answer.status() == StatusCode::FORBIDDEN {
                    rights.read(answer).await
                } else {
                    Ok(answer)
                }
            }
        });
        Client::new(service, namespace)
    }

    /// The missing rights, each once, for people.
    pub fn told(&self) -> Vec<String> {
        let texts = self
            .lock()
            .missing
            .iter()
            .map(ToString::to_string)
            .collect();
        BTreeSet::into_iter(texts).collect()
    }

    /// Notes what a refusal says, and gives it on.
    async fn read(&self, answer: Response<Body>) -> kube::Result<Response<Body>> {
        let (parts, body) = answer.into_parts();
        let body = body.collect_bytes().await?;
        let status = serde_json::from_slice::<kube::core::Status>(&body);
        if let Some(right) = status
            .ok()
            .and_then(|status| Right::denied(&status.message))
        {
            self.note(right);
        }
        Ok(Response::from_parts(parts, body.into()))
    }

    fn note(&self, right: Right) {
        let mut rights = self.lock();
        if !rights.missing.contains(&right) && rights.suspected.insert(right) {
            self.denied.notify_one();
        }
    }

    /// The rights to ask for.
    fn in_question(&self) -> BTreeSet<Right> {
        let rights = self.lock();
        rights.missing.union(&rights.suspected).cloned().collect()
    }

    /// Takes in that of the rights that were `asked` for, these are missing. Gives those that were not before; none if nothing changed.
    fn settle(&self, asked: &BTreeSet<Right>, missing: BTreeSet<Right>) -> Option<BTreeSet<Right>> {
        let mut rights = self.lock();
        rights.suspected.retain(|right| !asked.contains(right));
        let before = std::mem::replace(&mut rights.missing, missing);
        (before != rights.missing).then(|| rights.missing.difference(&before).cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, Rights> {
        self.rights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds out which rights are missing, and has every CR tell it.
pub async fn watch(ctx: Arc<Ctx>) {
    let rights = Arc::clone(&ctx.missing_rights);
    loop {
        if rights.in_question().is_empty() {
            rights.denied.notified().await;
            tokio::time::sleep(SETTLE_TIME).await;
        } else {
            tokio::select! {
                () = rights.denied.notified() => tokio::time::sleep(SETTLE_TIME).await,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
        let asked = rights.in_question();
        let mut missing = BTreeSet::new();
        for right in &asked {
            if is_missing(&ctx, right).await {
                missing.insert(right.clone());
            }
        }
        let Some(new) = rights.settle(&asked, missing) else {
            continue;
        };
        let told = rights.told();
        tracing::warn!(rights = told.join(", "), "the operator lacks rights");
        for cr in ctx.state().all_crs() {
            ctx.queue.wake(&CrKey::of(&cr));
        }
        if new.iter().any(Right::is_of_statuses) {
            tell_by_events(&ctx, &told).await;
        }
    }
}

/// Whether the API server says that a right is missing. While it cannot answer, what is known of it stays.
async fn is_missing(ctx: &Ctx, right: &Right) -> bool {
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(ResourceAttributes {
            group: text(&right.group),
            resource: text(&right.resource),
            subresource: text(&right.subresource),
            verb: text(&right.verb),
            namespace: right.namespace.clone(),
            ..ResourceAttributes::default()
        }),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview {
        spec,
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(ctx.sender.client().clone());
    match ctx
        .sender
        .read(api.create(&PostParams::default(), &review))
        .await
    {
        Ok(answer) => !answer.status.is_some_and(|status| status.allowed),
        Err(ApplyError::Forbidden(_)) => false,
        Err(_) => ctx.missing_rights.lock().missing.contains(right),
    }
}

/// Where no status can be written, Events have to do.
async fn tell_by_events(ctx: &Ctx, told: &[String]) {
    let crs = ctx.state().all_crs();
    for cr in crs {
        let event = StatusEvent {
            is_warning: true,
            reason: reason::RIGHTS_MISSING.to_owned(),
            note: missing_rights_message(told),
        };
        ctx.publisher.announce(&cr, event).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "User \"system:serviceaccount:istio-operator:istio-operator\"";

    fn denied(rest: &str) -> Option<String> {
        Right::denied(&format!("x is forbidden: {USER} {rest}")).map(|right| right.to_string())
    }

    #[test]
    fn a_right_is_told_as_kubectl_takes_it() {
        for (message, expected) in [
            (
                r#"cannot patch resource "configmaps" in API group "" in the namespace "istio-system""#,
                "patch configmaps",
            ),
            (
                r#"cannot list resource "deployments" in API group "apps" at the cluster scope"#,
                "list deployments.apps",
            ),
            (
                r#"cannot patch resource "istiooperators/status" in API group "install.istio.io" in the namespace "a""#,
                "patch istiooperators.install.istio.io/status",
            ),
        ] {
            assert_eq!(denied(message).as_deref(), Some(expected), "{message}");
        }
    }

    #[test]
    fn other_refusals_say_nothing_of_rights() {
        for message in [
            "exceeded quota: compute, requested: cpu=1, used: cpu=4, limited: cpu=4",
            "unable to create new content in namespace mesh because it is being terminated",
            "is attempting to grant RBAC permissions not currently held: {APIGroups:[\"\"]}",
            r#"cannot create resource "selfsubjectaccessreviews" in API group "authorization.k8s.io" at the cluster scope"#,
        ] {
            assert_eq!(denied(message), None, "{message}");
        }
    }

    #[test]
    fn what_is_denied_while_it_is_asked_stays_in_question() {
        let right = |verb: &str| {
            let scope = r#"resource "pods" in API group "" at the cluster scope"#;
            Right::denied(&format!("{USER} cannot {verb} {scope}")).unwrap()
        };
        let rights = MissingRights::default();
        rights.note(right("list"));
        let asked = rights.in_question();
        rights.note(right("watch"));
        assert_eq!(rights.settle(&asked, asked.clone()), Some(asked.clone()));
        assert_eq!(rights.told(), ["list pods"]);
        assert_eq!(rights.in_question().len(), 2);
        let asked = rights.in_question();
        let first = [right("list")].into();
        assert_eq!(rights.settle(&asked, first), None, "nothing changed");
        assert_eq!(
            rights.settle(&asked, BTreeSet::new()),
            Some(BTreeSet::new())
        );
        assert!(rights.told().is_empty() && rights.in_question().is_empty());
    }
}
