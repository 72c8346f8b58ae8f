//! What the audit log tells of the writes of Argo CD or Flux, and of the operator.

use std::collections::BTreeMap;

use e2e::{
    error::Error,
    observe::audit::{AuditLog, Event},
};
use k8s_openapi::jiff::Timestamp;

use crate::ensure;

/// The writes since some time.
pub struct Writes {
    /// The record of all requests.
    pub audit: AuditLog,
    /// The names of the tool's programs.
    pub tool: Vec<String>,
    /// The name of the operator.
    pub operator: String,
    /// When they begin.
    pub since: Timestamp,
}

/// Something that the audit log shows.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// The tool applied an object, of this resource and name.
    Written(&'static str, &'static str),
    /// The operator called an `IstioOperator` healthy.
    Healthy(&'static str),
    /// The tool deleted an object, of this resource and name.
    Deleted(&'static str, &'static str),
}

/// Where Flux notes what it does: objects of its own, and Events.
const BOOKKEEPING: [(&str, &str); 4] = [
    ("kustomize.toolkit.fluxcd.io", "kustomizations"),
    ("source.toolkit.fluxcd.io", "gitrepositories"),
    ("", "events"),
    ("events.k8s.io", "events"),
];

impl Writes {
    /// Writes of the tool to what others see.
    pub fn by_tool(&self) -> Result<Vec<Event>, Error> {
        let mut events = self.all_by_tool()?;
        events.retain(|event| !is_bookkeeping(event));
        Ok(events)
    }

    /// All writes of the operator: objects, status and Events.
    pub fn by_operator(&self) -> Result<Vec<Event>, Error> {
        self.audit.writes_by(&self.operator, self.since)
    }

    /// Writes of the operator to what it installs.
    pub fn objects_by_operator(&self) -> Result<Vec<Event>, Error> {
        self.audit.object_writes_by(&self.operator, self.since)
    }

    /// How often the operator wrote the object that it wrote most often.
    pub fn most_of_one_object(&self) -> Result<usize, Error> {
        let mut counts: BTreeMap<_, usize> = BTreeMap::new();
        for event in self.objects_by_operator()? {
            let object = event.object_ref;
            let key = (object.resource, object.namespace, object.name);
            *counts.entry(key).or_default() += 1;
        }
        Ok(counts.into_values().max().unwrap_or(0))
    }

    /// What the tool noted for itself, as the end of a sentence.
    pub fn bookkeeping(&self) -> Result<String, Error> {
        let events = self.all_by_tool()?;
        let count = events.iter().filter(|event| is_bookkeeping(event)).count();
        Ok(match count {
            0 => String::new(),
            _ => format!(" ({count} of the tool to its own objects)"),
        })
    }

    /// Whether all of this happened, each for the first time after the one before.
    pub fn happened_in_order(&self, moments: &[Moment]) -> Result<(), Error> {
        let mut last = self.since;
        for moment in moments {
            let at = self.first(*moment)?;
            let at = at.ok_or_else(|| Error::Unexpected(format!("{moment:?} never happened")))?;
            ensure(
                at >= last,
                format!("{moment:?} happened too early, at {at}"),
            )?;
            last = at;
        }
        Ok(())
    }

    fn first(&self, moment: Moment) -> Result<Option<Timestamp>, Error> {
        let events = match moment {
            Moment::Healthy(_) => self.by_operator()?,
            Moment::Written(..) | Moment::Deleted(..) => self.by_tool()?,
        };
        let mut found = events.iter().filter(|event| event.succeeded());
        let found = found.find(|event| moment.is_shown_by(event));
        Ok(found.map(|event| event.received))
    }

    fn all_by_tool(&self) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        for user in &self.tool {
            events.extend(self.audit.writes_by(user, self.since)?);
        }
        Ok(events)
    }
}

impl Moment {
    fn is_shown_by(self, event: &Event) -> bool {
        let object = &event.object_ref;
        let is_object = |resource: &str, name: &str, subresource: &str| {
            object.resource == resource && object.name == name && object.subresource == subresource
        };
        match self {
            Self::Written(resource, name) => {
                is_object(resource, name, "") && event.verb != "delete"
            }
            Self::Deleted(resource, name) => {
                is_object(resource, name, "") && event.verb == "delete"
            }
            Self::Healthy(name) => {
                let status = &event.request_object["status"]["status"];
                is_object("istiooperators", name, "status") && status == "HEALTHY"
            }
        }
    }
}

fn is_bookkeeping(event: &Event) -> bool {
    BOOKKEEPING
        .iter()
        .any(|(group, resource)| event.is_about(group, resource))
}
