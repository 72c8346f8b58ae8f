//! Rules of metadata, workloads, and where pods run.

use super::{NOT_NEGATIVE, Row, Rule};
use crate::render::kubernetes::formats::Format;
use Format::{AnnotationKey, DnsLabel, LabelKey, LabelValue};
use Rule::{Each, Filled, IfAny, Is, Keyed, Keys, OneOf, Range, Share, Values, Word};

const SPREAD: &[&str] = &["core.v1.TopologySpreadConstraint"];
const TOLERATION: &[&str] = &["core.v1.Toleration"];
const WORKLOADS: &[&str] = &["apps.v1.DeploymentSpec", "apps.v1.DaemonSetSpec"];
const BUDGET: &[&str] = &["policy.v1.PodDisruptionBudgetSpec"];
const SELECTOR: &[&str] = &["meta.v1.LabelSelector"];
const POLICIES: Rule = Word(&["Honor", "Ignore"]);

pub(super) const ROWS: &[Row] = &[
    // Metadata.
    (&["meta.v1.ObjectMeta"], &["labels"], Keys(LabelKey)),
    (&["meta.v1.ObjectMeta"], &["labels"], Values(LabelValue)),
    (
        &["meta.v1.ObjectMeta"],
        &["annotations"],
        Keys(AnnotationKey),
    ),
    (&["meta.v1.ObjectMeta"], &["namespace"], IfAny(DnsLabel)),
    (&["meta.v1.ObjectMeta"], &["finalizers"], Keyed(&[])),
    (
        &["meta.v1.ObjectMeta"],
        &["ownerReferences"],
        Keyed(&["uid"]),
    ),
    (SELECTOR, &["matchLabels"], Keys(LabelKey)),
    (SELECTOR, &["matchLabels"], Values(LabelValue)),
    (
        &["meta.v1.LabelSelectorRequirement"],
        &["key"],
        Is(LabelKey),
    ),
    (
        &["meta.v1.LabelSelectorRequirement"],
        &["operator"],
        Word(&["In", "NotIn", "Exists", "DoesNotExist"]),
    ),
    (
        &["meta.v1.LabelSelectorRequirement"],
        &["values"],
        Each(&Is(LabelValue)),
    ),
    // Workloads.
    (
        WORKLOADS,
        &["replicas", "minReadySeconds", "revisionHistoryLimit"],
        NOT_NEGATIVE,
    ),
    (
        &["apps.v1.DeploymentSpec"],
        &["progressDeadlineSeconds"],
        NOT_NEGATIVE,
    ),
    (
        &["apps.v1.DeploymentStrategy"],
        &["type"],
        OneOf(&["RollingUpdate", "Recreate"]),
    ),
    (
        &["apps.v1.DaemonSetUpdateStrategy"],
        &["type"],
        OneOf(&["RollingUpdate", "OnDelete"]),
    ),
    (
        &["apps.v1.RollingUpdateDeployment"],
        &["maxUnavailable"],
        Share(100),
    ),
    (
        &["apps.v1.RollingUpdateDeployment"],
        &["maxSurge"],
        Share(u64::MAX),
    ),
    (
        &["apps.v1.RollingUpdateDaemonSet"],
        &["maxUnavailable", "maxSurge"],
        Share(100),
    ),
    (BUDGET, &["minAvailable", "maxUnavailable"], Share(100)),
    (
        BUDGET,
        &["unhealthyPodEvictionPolicy"],
        Word(&["AlwaysAllow", "IfHealthyBudget"]),
    ),
    // Where pods run.
    (
        TOLERATION,
        &["operator"],
        OneOf(&["Exists", "Equal", "Lt", "Gt"]),
    ),
    (
        TOLERATION,
        &["effect"],
        OneOf(&["NoSchedule", "PreferNoSchedule", "NoExecute"]),
    ),
    (TOLERATION, &["key"], IfAny(LabelKey)),
    (SPREAD, &["maxSkew", "minDomains"], Range(1, i64::MAX)),
    (SPREAD, &["topologyKey"], Is(LabelKey)),
    (
        SPREAD,
        &["whenUnsatisfiable"],
        Word(&["DoNotSchedule", "ScheduleAnyway"]),
    ),
    (
        SPREAD,
        &["nodeAffinityPolicy", "nodeTaintsPolicy"],
        POLICIES,
    ),
    (
        &[
            "core.v1.PreferredSchedulingTerm",
            "core.v1.WeightedPodAffinityTerm",
        ],
        &["weight"],
        Range(1, 100),
    ),
    (
        &["core.v1.PodAffinityTerm"],
        &["namespaces"],
        Each(&Is(DnsLabel)),
    ),
    (&["core.v1.PodAffinityTerm"], &["topologyKey"], Is(LabelKey)),
    (&["core.v1.NodeSelector"], &["nodeSelectorTerms"], Filled),
    (&["core.v1.NodeSelectorRequirement"], &["key"], Is(LabelKey)),
    (
        &["core.v1.NodeSelectorRequirement"],
        &["operator"],
        Word(&["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]),
    ),
];
