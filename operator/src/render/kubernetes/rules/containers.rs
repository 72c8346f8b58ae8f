//! Rules of containers.

use super::{NOT_NEGATIVE, PORT_NUMBER, PROTOCOLS, Row, Rule};
use crate::render::kubernetes::formats::Format;
use Format::{DnsLabel, EnvName, NotEmpty, PortName};
use Rule::{Each, Filled, IfAny, Is, Keyed, OneOf, Port, Range, Unique, Word};

const USER: Rule = Range(0, i32::MAX as i64);
const CONTAINER: &[&str] = &["core.v1.Container"];
const PROBE: &[&str] = &["core.v1.Probe"];
const SECURITY: &[&str] = &["core.v1.SecurityContext", "core.v1.PodSecurityContext"];

pub(super) const ROWS: &[Row] = &[
    (CONTAINER, &["name"], Is(DnsLabel)),
    (CONTAINER, &["env"], Keyed(&["name"])),
    (
        CONTAINER,
        &["ports"],
        Keyed(&["containerPort", "protocol=TCP"]),
    ),
    (CONTAINER, &["ports"], Unique("name")),
    (CONTAINER, &["volumeMounts"], Keyed(&["mountPath"])),
    (CONTAINER, &["volumeDevices"], Keyed(&["devicePath"])),
    (
        CONTAINER,
        &["imagePullPolicy"],
        OneOf(&["Always", "IfNotPresent", "Never"]),
    ),
    (
        CONTAINER,
        &["terminationMessagePolicy"],
        OneOf(&["File", "FallbackToLogsOnError"]),
    ),
    (&["core.v1.EnvVar"], &["name"], Is(EnvName)),
    (
        &["core.v1.ConfigMapKeySelector", "core.v1.SecretKeySelector"],
        &["key"],
        Is(NotEmpty),
    ),
    (&["core.v1.ContainerPort"], &["containerPort"], PORT_NUMBER),
    (&["core.v1.ContainerPort"], &["hostPort"], Range(0, 65535)),
    (&["core.v1.ContainerPort"], &["name"], IfAny(PortName)),
    (&["core.v1.ContainerPort"], &["protocol"], PROTOCOLS),
    (
        &["core.v1.VolumeMount"],
        &["mountPath", "name"],
        Is(NotEmpty),
    ),
    (
        &["core.v1.VolumeMount"],
        &["mountPropagation"],
        Word(&["None", "HostToContainer", "Bidirectional"]),
    ),
    (
        &["core.v1.ResourceRequirements"],
        &["claims"],
        Keyed(&["name"]),
    ),
    (
        PROBE,
        &[
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ],
        NOT_NEGATIVE,
    ),
    (
        PROBE,
        &["terminationGracePeriodSeconds"],
        Range(1, i64::MAX),
    ),
    (
        &["core.v1.HTTPGetAction"],
        &["scheme"],
        OneOf(&["HTTP", "HTTPS"]),
    ),
    (
        &["core.v1.HTTPGetAction", "core.v1.TCPSocketAction"],
        &["port"],
        Port,
    ),
    (&["core.v1.HTTPHeader"], &["name"], Is(NotEmpty)),
    (&["core.v1.GRPCAction"], &["port"], PORT_NUMBER),
    (&["core.v1.ExecAction"], &["command"], Filled),
    (SECURITY, &["runAsUser", "runAsGroup", "fsGroup"], USER),
    (SECURITY, &["supplementalGroups"], Each(&USER)),
    (
        &["core.v1.PodSecurityContext"],
        &["fsGroupChangePolicy"],
        Word(&["Always", "OnRootMismatch"]),
    ),
    (
        &["core.v1.PodSecurityContext"],
        &["supplementalGroupsPolicy"],
        Word(&["Merge", "Strict"]),
    ),
    (
        &["core.v1.SeccompProfile", "core.v1.AppArmorProfile"],
        &["type"],
        Word(&["RuntimeDefault", "Unconfined", "Localhost"]),
    ),
    (
        &["core.v1.SecurityContext"],
        &["procMount"],
        Word(&["Default", "Unmasked"]),
    ),
];
