//! The order in which objects are applied.

use std::collections::BTreeMap;

use super::component_planner::ObjectPlan;
use super::{Decision, ObjectToApply, PlannedComponent, webhook_order};
use crate::cluster::{Kind, Role, belongs_to_default_tag};
use crate::render::{Object, ObjectKey, Rendered};

/// All objects in the order in which a cluster that has none of them gets them: parents first, and within a component
/// what workloads read before the workloads.
#[must_use]
pub fn in_apply_order(rendered: &Rendered) -> Vec<&Object> {
    let role = |object: &Object| Kind::of(&object.key).map_or(Role::Config, |kind| kind.role);
    let mut objects: Vec<_> = rendered
        .components
        .iter()
        .flat_map(|component| {
            component
                .objects
                .iter()
                .map(|object| (component.kind, object))
        })
        .collect();
    objects.sort_by_key(|(component, object)| (component.apply_rank(), role(object)));
    objects.into_iter().map(|(_, object)| object).collect()
}

/// When the objects of all components are sent.
#[derive(Default)]
pub(super) struct Schedule {
    /// What belongs to the default tag goes ahead of the rest of its role: the webhooks that it replaces rest only once it
    /// is there.
    pub(super) waves: BTreeMap<(Role, bool), Vec<ObjectToApply>>,
    /// What waits.
    pub(super) postponed: Vec<ObjectToApply>,
}

impl Schedule {
    /// Takes in an object of `component`; `lacking` is the workload that answers its webhooks, if there is none yet.
    pub(super) fn take(
        &mut self,
        component: &mut PlannedComponent,
        object: ObjectPlan,
        lacking: Option<&ObjectKey>,
    ) {
        match object {
            ObjectPlan::Apply(send) => match lacking {
                Some(workload) if webhook_order::fails_closed(&send) => {
                    let why = format!("{workload} was not accepted yet");
                    self.postpone(component, send, Decision::WaitingForWorkload(why));
                }
                _ => {
                    let wave = (send.kind.role, !belongs_to_default_tag(&send.body));
                    self.waves.entry(wave).or_default().push(send);
                }
            },
            ObjectPlan::Postpone(send, why) => {
                self.postpone(component, send, Decision::Waiting(why));
            }
            ObjectPlan::Skip(key, decision) => component.decided.push((key, decision)),
        }
    }

    fn postpone(&mut self, component: &mut PlannedComponent, send: ObjectToApply, why: Decision) {
        component.decided.push((send.key.clone(), why));
        self.postponed.push(send);
    }
}
