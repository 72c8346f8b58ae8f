//! Rules of configuration, rights and webhooks.

use super::{PORT_NUMBER, Row, Rule};
use crate::render::kubernetes::formats::Format;
use Format::{AbsolutePath, ConfigKey, FullName, NotEmpty, PathSegment};
use Rule::{Each, Filled, IfAny, Is, Keyed, Keys, Range, Word};

const WEBHOOKS: &[&str] = &[
    "admissionregistration.v1.MutatingWebhook",
    "admissionregistration.v1.ValidatingWebhook",
];
const OPERATIONS: &[&str] = &[
    "admissionregistration.v1.RuleWithOperations",
    "admissionregistration.v1.NamedRuleWithOperations",
];

pub(super) const ROWS: &[Row] = &[
    // Configuration, accounts and rights.
    (
        &["core.v1.ConfigMap"],
        &["data", "binaryData"],
        Keys(ConfigKey),
    ),
    (&["core.v1.ServiceAccount"], &["secrets"], Keyed(&["name"])),
    (
        &["rbac.v1.Subject"],
        &["kind"],
        Word(&["ServiceAccount", "User", "Group"]),
    ),
    (&["rbac.v1.Subject"], &["name"], Is(NotEmpty)),
    (&["rbac.v1.RoleRef"], &["name"], Is(PathSegment)),
    (&["rbac.v1.PolicyRule"], &["verbs"], Filled),
    // Webhooks.
    (
        &[
            "admissionregistration.v1.MutatingWebhookConfiguration",
            "admissionregistration.v1.ValidatingWebhookConfiguration",
        ],
        &["webhooks"],
        Keyed(&["name"]),
    ),
    (WEBHOOKS, &["name"], Is(FullName)),
    (WEBHOOKS, &["failurePolicy"], Word(&["Ignore", "Fail"])),
    (WEBHOOKS, &["matchPolicy"], Word(&["Exact", "Equivalent"])),
    (
        WEBHOOKS,
        &["reinvocationPolicy"],
        Word(&["Never", "IfNeeded"]),
    ),
    (WEBHOOKS, &["sideEffects"], Word(&["None", "NoneOnDryRun"])),
    (WEBHOOKS, &["timeoutSeconds"], Range(1, 30)),
    (WEBHOOKS, &["admissionReviewVersions"], Filled),
    (WEBHOOKS, &["matchConditions"], Keyed(&["name"])),
    (
        &["admissionregistration.v1.ValidatingAdmissionPolicySpec"],
        &["matchConditions", "variables"],
        Keyed(&["name"]),
    ),
    (
        OPERATIONS,
        &["operations"],
        Each(&Word(&["*", "CREATE", "UPDATE", "DELETE", "CONNECT"])),
    ),
    (
        OPERATIONS,
        &["operations", "apiGroups", "apiVersions", "resources"],
        Filled,
    ),
    (
        OPERATIONS,
        &["scope"],
        Word(&["Cluster", "Namespaced", "*"]),
    ),
    (
        &["admissionregistration.v1.ServiceReference"],
        &["path"],
        IfAny(AbsolutePath),
    ),
    (
        &["admissionregistration.v1.ServiceReference"],
        &["port"],
        PORT_NUMBER,
    ),
];
