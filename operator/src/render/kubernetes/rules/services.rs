//! Rules of Services, scaling and networks.

use super::{NOT_NEGATIVE, PORT_NUMBER, PROTOCOLS, Row, Rule};
use crate::render::kubernetes::formats::Format;
use Format::{
    Address, AddressRange, AnnotationKey, ClusterAddress, DnsLabel, LabelKey, LabelValue, NotEmpty,
    PathSegment,
};
use Rule::{
    Each, Filled, IfAny, Is, Keyed, Keys, OneOf, OptionalPort, Port, Positive, Range, Unique,
    Values, Word,
};

const SERVICE: &[&str] = &["core.v1.ServiceSpec"];
const SERVICE_PORT: &[&str] = &["core.v1.ServicePort"];
const SCALING_RULES: &[&str] = &["autoscaling.v2.HPAScalingRules"];
const SCALING_POLICY: &[&str] = &["autoscaling.v2.HPAScalingPolicy"];
const TARGET: &[&str] = &["autoscaling.v2.MetricTarget"];

pub(super) const ROWS: &[Row] = &[
    // Services.
    (
        SERVICE,
        &["trafficDistribution"],
        Word(&["PreferClose", "PreferSameNode", "PreferSameZone"]),
    ),
    (SERVICE, &["clusterIP"], IfAny(ClusterAddress)),
    (SERVICE, &["clusterIPs"], Each(&IfAny(ClusterAddress))),
    (SERVICE, &["externalIPs"], Each(&Is(Address))),
    (
        SERVICE,
        &["type"],
        OneOf(&["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]),
    ),
    (
        SERVICE,
        &["externalTrafficPolicy"],
        OneOf(&["Cluster", "Local"]),
    ),
    (
        SERVICE,
        &["internalTrafficPolicy"],
        Word(&["Cluster", "Local"]),
    ),
    (SERVICE, &["sessionAffinity"], OneOf(&["None", "ClientIP"])),
    (
        SERVICE,
        &["ipFamilyPolicy"],
        Word(&["SingleStack", "PreferDualStack", "RequireDualStack"]),
    ),
    (SERVICE, &["ipFamilies"], Each(&Word(&["IPv4", "IPv6"]))),
    (SERVICE, &["ipFamilies"], Keyed(&[])),
    (
        SERVICE,
        &["loadBalancerSourceRanges"],
        Each(&Is(AddressRange)),
    ),
    (SERVICE, &["selector"], Keys(LabelKey)),
    (SERVICE, &["selector"], Values(LabelValue)),
    (SERVICE, &["ports"], Keyed(&["port", "protocol=TCP"])),
    (SERVICE, &["ports"], Unique("name")),
    (SERVICE_PORT, &["port"], PORT_NUMBER),
    (SERVICE_PORT, &["nodePort"], Range(0, 65535)),
    (SERVICE_PORT, &["targetPort"], OptionalPort),
    (SERVICE_PORT, &["protocol"], PROTOCOLS),
    (SERVICE_PORT, &["name"], IfAny(DnsLabel)),
    (SERVICE_PORT, &["appProtocol"], Is(AnnotationKey)),
    // Scaling.
    (
        &["autoscaling.v2.HorizontalPodAutoscalerSpec"],
        &["minReplicas"],
        NOT_NEGATIVE,
    ),
    (
        &["autoscaling.v2.HorizontalPodAutoscalerSpec"],
        &["maxReplicas"],
        Range(1, i64::MAX),
    ),
    (
        &["autoscaling.v2.MetricSpec"],
        &["type"],
        Word(&[
            "Object",
            "Pods",
            "Resource",
            "ContainerResource",
            "External",
        ]),
    ),
    (
        TARGET,
        &["type"],
        Word(&["Utilization", "Value", "AverageValue"]),
    ),
    (TARGET, &["averageUtilization"], Range(1, i64::MAX)),
    (TARGET, &["value", "averageValue"], Positive),
    (
        &[
            "autoscaling.v2.ResourceMetricSource",
            "autoscaling.v2.ContainerResourceMetricSource",
        ],
        &["name"],
        Is(NotEmpty),
    ),
    (
        &["autoscaling.v2.ContainerResourceMetricSource"],
        &["container"],
        Is(DnsLabel),
    ),
    (
        &["autoscaling.v2.MetricIdentifier"],
        &["name"],
        Is(PathSegment),
    ),
    (
        &["autoscaling.v2.CrossVersionObjectReference"],
        &["kind", "name"],
        Is(PathSegment),
    ),
    (
        SCALING_RULES,
        &["stabilizationWindowSeconds"],
        Range(0, 3600),
    ),
    (
        SCALING_RULES,
        &["selectPolicy"],
        Word(&["Max", "Min", "Disabled"]),
    ),
    (SCALING_RULES, &["policies"], Filled),
    (SCALING_POLICY, &["type"], Word(&["Pods", "Percent"])),
    (SCALING_POLICY, &["value"], Range(1, i64::MAX)),
    (SCALING_POLICY, &["periodSeconds"], Range(1, 1800)),
    // Networks.
    (
        &["networking.v1.NetworkPolicySpec"],
        &["policyTypes"],
        Each(&Word(&["Ingress", "Egress"])),
    ),
    (&["networking.v1.NetworkPolicyPort"], &["port"], Port),
    (
        &["networking.v1.NetworkPolicyPort"],
        &["protocol"],
        PROTOCOLS,
    ),
    (
        &["discovery.v1.EndpointSlice"],
        &["addressType"],
        Word(&["IPv4", "IPv6", "FQDN"]),
    ),
];
