//! Rules of pods and their volumes.

use super::{NOT_NEGATIVE, Row, Rule};
use crate::render::kubernetes::formats::Format;
use Format::{DnsLabel, DnsName, LabelKey, LabelValue, NotEmpty};
use Rule::{Filled, IfAny, Is, Keyed, Keys, OneOf, Range, Values, Word};

const MODE: Rule = Range(0, 0o777);
const POD: &[&str] = &["core.v1.PodSpec"];
const REFERENCES: &[&str] = &[
    "core.v1.ConfigMapVolumeSource",
    "core.v1.ConfigMapKeySelector",
    "core.v1.ConfigMapProjection",
    "core.v1.SecretKeySelector",
    "core.v1.SecretProjection",
    "core.v1.ConfigMapEnvSource",
    "core.v1.SecretEnvSource",
];

pub(super) const ROWS: &[Row] = &[
    (POD, &["containers"], Filled),
    (
        POD,
        &["containers", "initContainers", "volumes"],
        Keyed(&["name"]),
    ),
    (
        POD,
        &["resourceClaims", "schedulingGates", "imagePullSecrets"],
        Keyed(&["name"]),
    ),
    (POD, &["hostAliases"], Keyed(&["ip"])),
    (
        POD,
        &["topologySpreadConstraints"],
        Keyed(&["topologyKey", "whenUnsatisfiable"]),
    ),
    (POD, &["nodeSelector"], Keys(LabelKey)),
    (POD, &["nodeSelector"], Values(LabelValue)),
    (
        POD,
        &["priorityClassName", "serviceAccountName"],
        IfAny(DnsName),
    ),
    (POD, &["terminationGracePeriodSeconds"], NOT_NEGATIVE),
    (POD, &["restartPolicy"], OneOf(&["Always"])),
    (
        POD,
        &["dnsPolicy"],
        OneOf(&["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]),
    ),
    (
        POD,
        &["preemptionPolicy"],
        Word(&["Never", "PreemptLowerPriority"]),
    ),
    (&["core.v1.Volume"], &["name"], Is(DnsLabel)),
    (
        &["core.v1.HostPathVolumeSource"],
        &["type"],
        Word(&[
            "",
            "DirectoryOrCreate",
            "Directory",
            "FileOrCreate",
            "File",
            "Socket",
            "CharDevice",
            "BlockDevice",
        ]),
    ),
    (&["core.v1.HostPathVolumeSource"], &["path"], Is(NotEmpty)),
    (
        &["core.v1.SecretVolumeSource"],
        &["secretName"],
        Is(NotEmpty),
    ),
    (
        &["core.v1.PersistentVolumeClaimVolumeSource"],
        &["claimName"],
        Is(NotEmpty),
    ),
    (&["core.v1.CSIVolumeSource"], &["driver"], Is(NotEmpty)),
    (REFERENCES, &["name"], Is(NotEmpty)),
    (
        &[
            "core.v1.ConfigMapVolumeSource",
            "core.v1.SecretVolumeSource",
            "core.v1.ProjectedVolumeSource",
            "core.v1.DownwardAPIVolumeSource",
        ],
        &["defaultMode"],
        MODE,
    ),
    (
        &["core.v1.KeyToPath", "core.v1.DownwardAPIVolumeFile"],
        &["mode"],
        MODE,
    ),
    (
        &["core.v1.KeyToPath", "core.v1.DownwardAPIVolumeFile"],
        &["key", "path"],
        Is(NotEmpty),
    ),
    (
        &["core.v1.ServiceAccountTokenProjection"],
        &["expirationSeconds"],
        Range(600, 1 << 32),
    ),
];
