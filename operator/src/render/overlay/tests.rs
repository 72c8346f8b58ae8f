use super::*;
use crate::api::{ComponentKind, Path};
use crate::catalogue::Version;
use crate::merge::OverlayPatch;
use serde_json::json;

fn apply(
    component: &Component,
    objects: &mut [Object],
    warnings: &mut Vec<Warning>,
) -> Result<(), RenderError> {
    let mut findings = Findings::default();
    let applied = super::apply(component, &plane(""), objects, &mut findings, &|| true);
    warnings.append(&mut findings.warnings);
    applied
}

/// Kind, name and patches of an overlay.
type Written<'a> = (&'a str, &'a str, &'a [(&'a str, Value)]);

fn deployment(spec: Value) -> Object {
    let mut body =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}});
    body["spec"] = spec;
    Object::of(Manifest::from(&body)).unwrap()
}

fn plane(revision: &str) -> ControlPlane {
    let version = Version {
        minor: 31,
        patch: 1,
    };
    ControlPlane {
        version,
        revision: revision.to_owned(),
    }
}

/// Where revisions are named after versions, an overlay need not be written again for each version.
#[test]
fn an_overlay_finds_its_object_in_every_version() {
    for (name, revision, is_found) in [
        ("a-1-31-1", "1-31-1", true),
        ("a-1-31-1-n", "1-31-1", false),
        ("a-prod-1-31-1", "prod-1-31-1", false),
        ("a-1-30-5", "1-30-5", false),
        ("a-1-31-1", "canary", false),
    ] {
        let mut object = deployment(json!({"replicas": 1}));
        object.key.name = name.to_owned();
        let mut objects = [object];
        let patches: &[(&str, Value)] = &[("spec.replicas", json!(2))];
        let component = component(&[("Deployment", "a", patches)]);
        let mut findings = Findings::default();
        super::apply(
            &component,
            &plane(revision),
            &mut objects,
            &mut findings,
            &|| true,
        )
        .unwrap();
        assert_eq!(
            findings.warnings.is_empty(),
            is_found,
            "{name} {revision}: {findings:?}"
        );
        let replicas = &objects[0].body.field("spec")["replicas"];
        assert_eq!(*replicas == 2, is_found, "{name} {revision}");
    }
}

fn component(overlays: &[Written<'_>]) -> Component {
    let path = Path::root("overlays");
    let entry = |(index, (target, value)): (usize, &(&str, Value))| OverlayPatch {
        target: (*target).to_owned(),
        value: value.clone(),
        path: path.key("patches").index(index),
    };
    let overlay = |(kind, name, patches): &Written<'_>| Overlay {
        kind: (*kind).to_owned(),
        name: (*name).to_owned(),
        patches: patches.iter().enumerate().map(entry).collect(),
        path: path.clone(),
    };
    Component {
        kind: ComponentKind::Pilot,
        name: "a".to_owned(),
        namespace: "n".to_owned(),
        values: json!({}),
        k8s: json!({}),
        overlays: overlays.iter().map(overlay).collect(),
        path: Path::root("pilot"),
        index: None,
    }
}

/// The spec after patches in one overlay, and the warnings.
fn patched(spec: Value, patches: &[(&str, Value)]) -> (Value, Vec<String>) {
    let mut objects = [deployment(spec)];
    let mut warnings = Vec::new();
    apply(
        &component(&[("Deployment", "a", patches)]),
        &mut objects,
        &mut warnings,
    )
    .unwrap();
    (
        objects[0].body.field("spec"),
        warnings.iter().map(ToString::to_string).collect(),
    )
}

/// The spec after one patch that works.
fn one(spec: Value, path: &str, value: Value) -> Value {
    let (spec, warnings) = patched(spec, &[(path, value)]);
    assert_eq!(warnings, [""; 0], "{path}");
    spec
}

/// The warning of one patch that changes nothing.
fn warning(spec: &Value, path: &str, value: Value) -> String {
    let (after, warnings) = patched(spec.clone(), &[(path, value)]);
    assert_eq!(&after, spec, "{path}");
    assert_eq!(warnings.len(), 1, "{path}");
    warnings[0].clone()
}

#[test]
fn a_set_replaces_the_whole_node() {
    let spec = json!({"a": {"b": 1, "c": 2}});
    assert_eq!(
        one(spec.clone(), "spec.a", json!({"d": 3})),
        json!({"a": {"d": 3}})
    );
    for value in [json!(""), json!({}), json!([]), json!(false), json!(0)] {
        assert_eq!(
            one(spec.clone(), "spec.a.b", value.clone())["a"]["b"],
            value
        );
    }
    assert_eq!(
        one(spec, "spec.n.m", json!(1)),
        json!({"a": {"b": 1, "c": 2}, "n": {"m": 1}})
    );
}

#[test]
fn list_elements_are_found_by_key_and_value() {
    let spec = json!({"l": [{"name": "x", "v": 1}, {"name": "y", "port": 80}]});
    assert_eq!(
        one(spec.clone(), "spec.l.[name:y].v", json!(2))["l"][1]["v"],
        2
    );
    assert_eq!(
        one(spec.clone(), "spec.l[port:80].v", json!(3))["l"][1]["v"],
        3
    );
    assert_eq!(
        one(spec.clone(), "spec.l.[name:x]", json!({"n": 1}))["l"][0],
        json!({"n": 1})
    );
    assert_eq!(
        one(spec, "spec.l.[name:x]", json!(null)),
        json!({"l": [{"name": "y", "port": 80}]})
    );
}

#[test]
fn indexes_select_or_append() {
    let spec = json!({"l": [1, 2]});
    assert_eq!(
        one(spec.clone(), "spec.l.[0]", json!(9)),
        json!({"l": [9, 2]})
    );
    assert_eq!(
        one(spec.clone(), "spec.l[-1]", json!(3)),
        json!({"l": [1, 2, 3]})
    );
    assert_eq!(
        one(spec.clone(), "spec.l.[1000]", json!(3)),
        json!({"l": [1, 2, 3]})
    );
    assert_eq!(
        one(spec.clone(), "spec.l.[1000].f", json!(3)),
        json!({"l": [1, 2, {"f": 3}]})
    );
    assert_eq!(one(spec, "spec.l.[1]", json!(null)), json!({"l": [1]}));
}

#[test]
fn scalars_are_found_by_an_unanchored_expression() {
    let spec = json!({"l": ["--alpha=1", "--beta=2", "x:y"]});
    assert_eq!(one(spec.clone(), "spec.l.[beta]", json!("B"))["l"][1], "B");
    assert_eq!(one(spec.clone(), "spec.l.[:^--b]", json!("B"))["l"][1], "B");
    assert_eq!(one(spec.clone(), r"spec.l.[x\:y]", json!("B"))["l"][2], "B");
    assert_eq!(
        one(spec, "spec.l.[alpha]", json!(null)),
        json!({"l": ["--beta=2", "x:y"]})
    );
}

#[test]
fn an_index_below_nothing_is_a_literal_key() {
    assert_eq!(
        one(json!({}), "spec.m.[0].ip", json!("x")),
        json!({"m": {"[0]": {"ip": "x"}}})
    );
    assert_eq!(
        one(json!({"m": {}}), "spec.m.[k:v]", json!(1)),
        json!({"m": {"[k:v]": 1}})
    );
}

#[test]
fn deletes_remove_and_leave_what_they_passed_through() {
    let spec = json!({"a": {"b": 1}, "l": [1]});
    assert_eq!(
        one(spec.clone(), "spec.a.b", json!(null)),
        json!({"a": {}, "l": [1]})
    );
    assert_eq!(
        one(spec.clone(), "spec.l", json!(null)),
        json!({"a": {"b": 1}})
    );
    assert_eq!(
        one(json!({}), "spec.foo.bar.baz", json!(null)),
        json!({"foo": {"bar": {}}})
    );
}

#[test]
fn a_list_without_selector_is_replaced() {
    assert_eq!(
        one(json!({"l": [1, 2]}), "spec.l", json!(3)),
        json!({"l": 3})
    );
    assert_eq!(
        one(json!({"l": [1, 2]}), "spec.l", json!([3])),
        json!({"l": [3]})
    );
}

#[test]
fn a_list_of_the_same_overlay_grows() {
    let patches = [
        ("spec.a", json!({"l": [1]})),
        ("spec.a.l", json!(2)),
        ("spec.a.n.[0].x", json!(3)),
    ];
    let (spec, warnings) = patched(json!({}), &patches);
    assert_eq!(spec, json!({"a": {"l": [1, 2], "n": [{"x": 3}]}}));
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn a_list_of_an_earlier_overlay_is_replaced() {
    let mut objects = [deployment(json!({}))];
    let overlays: [Written<'_>; 2] = [
        ("Deployment", "a", &[("spec.a", json!({"l": [1]}))]),
        ("Deployment", "a", &[("spec.a.l", json!(2))]),
    ];
    apply(&component(&overlays), &mut objects, &mut Vec::new()).unwrap();
    assert_eq!(objects[0].body.field("spec"), json!({"a": {"l": 2}}));
}

#[test]
fn null_on_the_way_becomes_a_map() {
    assert_eq!(
        one(json!({"a": null}), "spec.a.b", json!(1)),
        json!({"a": {"b": 1}})
    );
    assert_eq!(
        one(json!({"a": null}), "spec.a.b", json!(null)),
        json!({"a": null})
    );
}

#[test]
fn what_fails_is_a_warning_and_the_next_patch_applies() {
    let spec = json!({"s": "x", "l": [{"name": "y"}], "n": null, "ll": [[1]]});
    let expected = [
        (
            "spec.l.[name:absent].v",
            "no element of the list is [name:absent]",
        ),
        ("spec.l.name", "name is not [key:value] or [index]"),
        (
            "spec.s.foo",
            "\"x\" is not a map or a list, so it has no foo",
        ),
        ("spec.n.[0]", "there is no list that [0] could select from"),
        (
            "spec.ll.[0].[0]",
            "the elements of a list in a list cannot be changed",
        ),
        ("", "the path is empty"),
    ];
    for (path, problem) in expected {
        let text = warning(&spec, path, json!(1));
        assert_eq!(
            text,
            format!("overlays.patches[0]: {path:?} changes nothing: {problem}")
        );
    }
    let text = warning(&spec, "spec.l.[99]", json!(null));
    assert!(
        text.ends_with("[99] is out of range, the list has the length 1"),
        "{text}"
    );
    let patches = [("spec.s.foo", json!(1)), ("spec.s", json!("z"))];
    let (after, warnings) = patched(spec, &patches);
    assert_eq!((&after["s"], warnings.len()), (&json!("z"), 1));
}

#[test]
fn a_text_for_a_field_without_a_type_is_a_map_where_it_is_for_upstream() {
    for (text, expected) in [
        ("a: b\nc: d\n", json!({"a": "b", "c": "d"})),
        ("{\"a\": 1}", json!("{\"a\": 1}")),
        ("- a: b", json!("- a: b")),
        ("a", json!("a")),
        ("", json!("")),
    ] {
        assert_eq!(
            one(json!({}), "spec.t", json!(text)),
            json!({"t": expected})
        );
    }
}

#[test]
fn overlays_that_match_nothing_warn() {
    let overlays: [Written<'_>; 1] = [("Service", "a", &[])];
    let mut warnings = Vec::new();
    apply(
        &component(&overlays),
        &mut [deployment(json!({}))],
        &mut warnings,
    )
    .unwrap();
    assert_eq!(
        warnings[0].to_string(),
        "overlays: matches nothing: no Service a is rendered"
    );
}

#[test]
fn a_renamed_object_is_found_under_its_new_name() {
    let overlays: [Written<'_>; 2] = [
        ("Deployment", "a", &[("metadata.name", json!("b"))]),
        ("Deployment", "b", &[("spec.x", json!(1))]),
    ];
    let mut objects = [deployment(json!({}))];
    apply(&component(&overlays), &mut objects, &mut Vec::new()).unwrap();
    assert_eq!(objects[0].key.name, "b");
    assert_eq!(objects[0].body.field("spec"), json!({"x": 1}));
}

#[test]
fn an_object_without_kind_is_refused() {
    let overlays: [Written<'_>; 1] = [("Deployment", "a", &[("kind", json!(null))])];
    let error = apply(
        &component(&overlays),
        &mut [deployment(json!({}))],
        &mut Vec::new(),
    )
    .unwrap_err();
    assert_eq!(error.to_string(), "overlays: leaves an object without kind");
}

#[test]
fn a_path_that_is_too_deep_is_refused() {
    let refusal = |target: &str, value: Value| {
        let overlays: [Written<'_>; 1] = [("Deployment", "a", &[(target, value)])];
        let objects = &mut [deployment(json!({}))];
        let result = apply(&component(&overlays), objects, &mut Vec::new());
        result.err().map(|error| error.to_string())
    };
    let path = format!("spec{}", ".a".repeat(98));
    assert_eq!(refusal(&path, json!([])), None);
    let error = "overlays.patches[0]: expected at most 100 levels, found 101";
    assert_eq!(refusal(&path, json!([[]])).as_deref(), Some(error));
    let path = format!("spec{}", ".a".repeat(500_000));
    assert!(refusal(&path, json!(1)).is_some());
}

/// What each patch of an overlay reaches that the chart does not.
#[test]
fn a_privilege_is_told_of_the_patch_that_brings_it() {
    let mut objects = [deployment(
        json!({"template": {"spec": {"containers": [{"name": "x"}]}}}),
    )];
    let pod = "spec.template.spec";
    let patches: &[(&str, Value)] = &[
        ("spec.replicas", json!(2)),
        (&format!("{pod}.hostNetwork"), json!(true)),
        (
            &format!("{pod}.containers.[name:x].securityContext.privileged"),
            json!("true"),
        ),
    ];
    let component = component(&[("Deployment", "a", patches)]);
    let mut findings = Findings::default();
    super::apply(&component, &plane(""), &mut objects, &mut findings, &|| {
        true
    })
    .unwrap();
    let told: Vec<_> = findings
        .privileges
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        told,
        [
            "overlays.patches[1]: has pods share the node's (hostNetwork) (Deployment a)",
            "overlays.patches[2]: has pods be privileged (Deployment a)",
        ]
    );
}
