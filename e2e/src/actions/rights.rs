//! Takes rights away from the operator, and gives them back.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    rbac::v1::{ClusterRole, PolicyRule},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    error::Error,
    wait::{SOON, wait_until},
};

/// One verb on the objects of one kind, of all or of one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The API group; empty for the core group.
    pub group: String,
    /// The plural name, with the subresource if that is meant.
    pub resource: String,
    /// The name of the object, if only one is meant.
    pub name: Option<String>,
    /// The verb.
    pub verb: String,
}

/// The cluster roles of the operator.
#[derive(Debug)]
pub struct Rights {
    roles: Api<ClusterRole>,
    reviews: Api<SubjectAccessReview>,
    user: String,
    /// The rules of each role, as they were at first.
    whole: BTreeMap<String, Vec<PolicyRule>>,
}

impl Right {
    /// The rights in a rule.
    #[must_use]
    pub fn of(rule: &PolicyRule) -> BTreeSet<Self> {
        let names = rule.resource_names.iter().flatten().cloned().map(Some);
        let mut names: Vec<_> = names.collect();
        if names.is_empty() {
            names.push(None);
        }
        let mut rights = BTreeSet::new();
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    rights.extend(names.iter().map(|name| Self {
                        group: group.clone(),
                        resource: resource.clone(),
                        name: name.clone(),
                        verb: verb.clone(),
                    }));
                }
            }
        }
        rights
    }

    /// Whether some request needs either of two rights.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let is_same = |mine: &str, theirs: &str| mine == theirs || mine == "*" || theirs == "*";
        is_same(&self.group, &other.group)
            && is_same(&self.resource, &other.resource)
            && is_same(&self.verb, &other.verb)
            && (self.name.is_none() || other.name.is_none() || self.name == other.name)
    }

    /// As `kubectl auth can-i` takes it, and as statuses tell it: `patch deployments.apps`.
    #[must_use]
    pub fn told(&self) -> String {
        let (resource, subresource) = self.parts();
        let subresource = subresource.map(|name| format!("/{name}"));
        let subresource = subresource.unwrap_or_default();
        let group = match self.group.as_str() {
            "" => String::new(),
            group => format!(".{group}"),
        };
        format!("{} {resource}{group}{subresource}", self.verb)
    }

    /// The plural name and the subresource.
    fn parts(&self) -> (&str, Option<&str>) {
        let parts = self.resource.split_once('/');
        parts.map_or((&self.resource, None), |(plural, below)| {
            (plural, Some(below))
        })
    }
}

impl Rights {
    /// Reads the cluster roles of these names, which are bound to `user`.
    pub async fn read(client: Client, names: &[&str], user: &str) -> Result<Self, Error> {
        let roles: Api<ClusterRole> = Api::all(client.clone());
        let mut whole = BTreeMap::new();
        for name in names {
            let role = roles.get(name).await?;
            whole.insert((*name).to_owned(), role.rules.unwrap_or_default());
        }
        Ok(Self {
            roles,
            reviews: Api::all(client),
            user: user.to_owned(),
            whole,
        })
    }

    /// The rules of a role.
    #[must_use]
    pub fn rules(&self, role: &str) -> Vec<PolicyRule> {
        self.whole.get(role).cloned().unwrap_or_default()
    }

    /// Takes rights away, in whichever role they are, and gives back everything else. Waits until the API server goes by it.
    pub async fn take(&self, taken: &BTreeSet<Right>) -> Result<(), Error> {
        for (name, rules) in &self.whole {
            let left = rules.iter().flat_map(|rule| remaining(rule, taken));
            self.write(name, &left.collect::<Vec<_>>()).await?;
        }
        let Some(right) = taken.first() else {
            return Ok(());
        };
        let what = format!("{} to be denied", right.told());
        wait_until(&what, SOON, || async {
            match self.is_granted(right).await {
                Ok(false) => Ok(()),
                Ok(true) => Err("it is granted".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// Gives everything back.
    pub async fn give_back(&self) -> Result<(), Error> {
        for (name, rules) in &self.whole {
            self.write(name, rules).await?;
        }
        Ok(())
    }

    async fn write(&self, name: &str, rules: &[PolicyRule]) -> Result<(), Error> {
        let patch = Patch::Merge(json!({"rules": rules}));
        let params = PatchParams::default();
        self.roles.patch_metadata(name, &params, &patch).await?;
        Ok(())
    }

    async fn is_granted(&self, right: &Right) -> Result<bool, Error> {
        let (resource, subresource) = right.parts();
        let attributes = ResourceAttributes {
            group: Some(right.group.clone()),
            resource: Some(resource.to_owned()),
            subresource: subresource.map(str::to_owned),
            name: right.name.clone(),
            verb: Some(right.verb.clone()),
            ..ResourceAttributes::default()
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(self.user.clone()),
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = self.reviews.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

/// A rule as it was, or what is left of it without these rights.
fn remaining(rule: &PolicyRule, taken: &BTreeSet<Right>) -> Vec<PolicyRule> {
    let is_taken = |right: &Right| taken.iter().any(|taken| taken.overlaps(right));
    let rights = Right::of(rule);
    if !rights.iter().any(is_taken) {
        return vec![rule.clone()];
    }
    let left = rights.into_iter().filter(|right| !is_taken(right));
    left.map(|right| PolicyRule {
        api_groups: Some(vec![right.group]),
        resources: Some(vec![right.resource]),
        resource_names: right.name.map(|name| vec![name]),
        verbs: vec![right.verb],
        ..PolicyRule::default()
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(group: &str, resource: &str, verbs: &[&str]) -> PolicyRule {
        PolicyRule {
            api_groups: Some(vec![group.into()]),
            resources: Some(vec![resource.into()]),
            verbs: verbs.iter().map(ToString::to_string).collect(),
            ..PolicyRule::default()
        }
    }

    #[test]
    fn a_rule_loses_what_is_taken_and_keeps_the_rest() {
        let taken = Right::of(&rule("apps", "deployments", &["list", "watch"]));
        let other = rule("", "pods", &["list"]);
        assert_eq!(remaining(&other, &taken), [other]);
        let rest = remaining(&rule("apps", "*", &["get", "list"]), &taken);
        assert_eq!(rest, [rule("apps", "*", &["get"])]);
    }

    #[test]
    fn rights_are_told_as_kubectl_takes_them() {
        let told = |group: &str, resource: &str| {
            let rights = Right::of(&rule(group, resource, &["patch"]));
            rights.first().unwrap().told()
        };
        assert_eq!(told("", "services"), "patch services");
        let status = told("install.istio.io", "istiooperators/status");
        assert_eq!(status, "patch istiooperators.install.istio.io/status");
    }
}
