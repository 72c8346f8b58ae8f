//! `why` names the layer that made a field: whoever changes that layer changes the field.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use istio_operator::api::{IstioOperator, RawSpec, leaves};
use istio_operator::charts::{Charts, yaml};
use istio_operator::merge::{Cluster, merge};
use istio_operator::render::render;
use serde_json::{Value, json};

use super::run::{CHARTS, refusal, run, run_on, text};

/// Has something of every layer.
const CR: &str = "
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
metadata: {name: istio}
spec:
  profile: demo
  hub: example.com/istio
  meshConfig: {accessLogFile: /dev/stdout, defaultConfig: {proxyMetadata: {A: b}}}
  values:
    global: {logging: {level: 'default:debug'}, proxy: {logLevel: info}, priorityClassName: critical}
    pilot: {env: {PILOT_X: y}, traceSampling: 3}
    gateways: {istio-ingressgateway: {serviceAnnotations: {a: b}, autoscaleEnabled: true}}
  components:
    pilot:
      k8s:
        resources: {requests: {cpu: 300m}}
        podAnnotations: {note: hello}
        overlays:
          - kind: Deployment
            name: istiod
            patches:
              - {path: spec.template.spec.dnsPolicy, value: Default}
              - {path: 'spec.template.spec.containers.[name:discovery].terminationMessagePath', value: /dev/other}
    ingressGateways:
      - name: istio-ingressgateway
        enabled: true
        label: {team: edge}
        k8s: {hpaSpec: {minReplicas: 2, maxReplicas: 7}}
      - {name: second, namespace: other, enabled: true, k8s: {replicaCount: 2}}
";

const OBJECTS: [&str; 5] = [
    "Deployment/istiod",
    "Deployment/second",
    "HorizontalPodAutoscaler/istio-ingressgateway",
    "Service/istio-ingressgateway",
    "ConfigMap/istio",
];
const SEED: u64 = 13;
const COUNT: usize = 200;

/// The answers about an object and the fields of it.
fn ask(object: &str) -> Value {
    let output = run_on(CR, &["why", object, "-f", "-", "-o", "json"]);
    assert!(
        output.status.success(),
        "{object}: {}",
        text(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The fields of all objects that a spec gives, by object and path.
fn fields(spec: &Value, charts: &Charts) -> Option<BTreeMap<(String, String), Value>> {
    let cr = IstioOperator::new("istio", RawSpec(spec.clone()));
    let merged = merge(&cr, None, Cluster::default(), charts).ok()?;
    let rendered = render(&merged, charts).ok()?;
    let objects = rendered
        .components
        .iter()
        .flat_map(|component| &component.objects);
    let mut found = BTreeMap::new();
    for object in objects {
        for leaf in leaves(&object.body.value()) {
            found.insert(
                (object.key.to_string(), leaf.path.to_string()),
                leaf.value.clone(),
            );
        }
    }
    Some(found)
}

#[test]
fn two_hundred_fields_follow_the_layer_that_is_named() {
    let charts = Charts::embedded().unwrap();
    let cr: Value = yaml::parse(CR).unwrap();
    let spec = &cr["spec"];
    let before = fields(spec, &charts).unwrap();
    let mut asked = Vec::new();
    for object in OBJECTS {
        let answer = ask(object);
        let name = answer["object"].as_str().unwrap().to_owned();
        for field in answer["fields"].as_array().unwrap() {
            asked.push((name.clone(), field.clone()));
        }
    }
    fastrand::Rng::with_seed(SEED).shuffle(&mut asked);
    assert!(asked.len() > COUNT, "{}", asked.len());
    let (mut layers, mut literals) = (BTreeSet::new(), Vec::new());
    for (object, field) in asked.into_iter().take(COUNT) {
        let key = (object.clone(), field["path"].as_str().unwrap().to_owned());
        assert_eq!(before.get(&key), Some(&field["value"]), "{key:?}");
        let sources = field["sources"].as_array().unwrap();
        let direct = sources.iter().filter(|source| source["direct"] == true);
        let mut direct = direct.peekable();
        if direct.peek().is_none() {
            literals.push((key, field));
            continue;
        }
        for source in direct {
            let layer = source["layer"].as_str().unwrap();
            layers.insert(layer.to_owned());
            let is_changed = others(&source["value"]).into_iter().any(|other| {
                let changed = with(
                    spec,
                    source["setting"].as_str().unwrap(),
                    &source["value"],
                    other,
                );
                let after = changed.and_then(|spec| fields(&spec, &charts));
                after.is_some_and(|after| after.get(&key) != before.get(&key))
            });
            assert!(is_changed, "{key:?}: {source}");
        }
    }
    let expected = [
        "chart default",
        "chart profile",
        "components",
        "derived",
        "k8s",
        "overlay",
        "profile",
        "values",
        "version",
    ];
    let unseen: Vec<_> = expected
        .iter()
        .filter(|layer| !layers.contains(**layer))
        .collect();
    // Which fields are drawn decides which layers are seen.
    assert!(unseen.len() <= 2, "never named: {unseen:?}");
    literal_fields_follow_their_line(spec, &literals);
}

/// Other values of the type of this one, and none.
fn others(value: &Value) -> Vec<Option<Value>> {
    let mut others = match value {
        Value::Bool(flag) => vec![Some(json!(!flag))],
        Value::Number(number) => match number.as_i64() {
            Some(whole) => vec![Some(json!(whole + 1))],
            None => vec![Some(json!(number.as_f64().unwrap() + 1.0))],
        },
        Value::String(text) => {
            let digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
            let digits = &text[..text.len() - digits.len()];
            let next = digits
                .parse::<u64>()
                .map(|number| text.replacen(digits, &(number + 7).to_string(), 1));
            [Ok(format!("{text}zz")), next]
                .into_iter()
                .flatten()
                .map(|text| Some(json!(text)))
                .collect()
        }
        // A field of an element follows the list that has the element.
        Value::Array(list) if !list.is_empty() => leaves(value)
            .into_iter()
            .flat_map(|leaf| {
                let below = others(leaf.value).into_iter().flatten();
                below.map(move |other| {
                    let mut list = value.clone();
                    *list.pointer_mut(&leaf.pointer).unwrap() = other;
                    Some(list)
                })
            })
            .chain([Some(json!([]))])
            .collect(),
        _ => Vec::new(),
    };
    others.push(None);
    others
}

/// The spec with another value of a setting that `why` named.
fn with(spec: &Value, setting: &str, value: &Value, other: Option<Value>) -> Option<Value> {
    let setting = setting.split(" (").next().unwrap();
    let path = setting.strip_prefix("spec.").unwrap_or(setting);
    let mut changed = spec.clone();
    let mut place = &mut changed;
    let mut rest = path;
    while !rest.is_empty() {
        let (key, behind) = step(rest);
        rest = behind;
        if let Value::Array(list) = place {
            place = list.get_mut(key.parse::<usize>().ok()?)?;
        } else {
            if !place.is_object() {
                *place = json!({});
            }
            place = &mut place[key.as_str()];
        }
    }
    // A patch is one setting.
    if path.contains(".patches[") {
        place = &mut place["value"];
        if place != value {
            return None;
        }
    }
    *place = other?;
    Some(changed)
}

fn step(path: &str) -> (String, &str) {
    if let Some(inside) = path.strip_prefix("[\"") {
        let (key, behind) = inside.split_once("\"]").unwrap();
        return (key.to_owned(), behind);
    }
    if let Some(inside) = path.strip_prefix('[') {
        let (key, behind) = inside.split_once(']').unwrap();
        return (key.to_owned(), behind);
    }
    let path = path.strip_prefix('.').unwrap_or(path);
    let end = path.find(['.', '[']).unwrap_or(path.len());
    (path[..end].to_owned(), &path[end..])
}

/// What no setting gives stands in a template: the line that is named has it, and a chart with another text there gives
/// another field.
fn literal_fields_follow_their_line(spec: &Value, literals: &[((String, String), Value)]) {
    let before = fields(spec, &Charts::embedded().unwrap()).unwrap();
    let (mut tried, mut named) = (0, 0);
    for (key, field) in literals {
        let Some(template) = field.get("template") else {
            continue;
        };
        named += 1;
        let (file, line) = (
            template["file"].as_str().unwrap(),
            template["line"].as_u64().unwrap(),
        );
        let text = fs::read_to_string(Path::new(CHARTS).join(file)).unwrap();
        let line = usize::try_from(line).unwrap() - 1;
        let old = text.lines().nth(line).unwrap();
        let value = field["value"]
            .as_str()
            .map_or_else(|| field["value"].to_string(), str::to_owned);
        // A value that a helper puts together does not stand there as it is.
        let is_plain = value.len() > 3 && old.matches(&value).count() == 1 && !old.contains("{{");
        if !is_plain || tried == 10 {
            continue;
        }
        tried += 1;
        let other = match field["value"] {
            Value::Number(_) => "4321".to_owned(),
            Value::Bool(flag) => (!flag).to_string(),
            _ => format!("{value}x"),
        };
        let lines = text.lines().enumerate().map(|(index, found)| {
            if index == line {
                found.replacen(&value, &other, 1)
            } else {
                found.to_owned()
            }
        });
        let dir =
            std::env::temp_dir().join(format!("istio-operator-why-{tried}-{}", std::process::id()));
        copy(Path::new(CHARTS), &dir);
        fs::write(dir.join(file), lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
        let after = fields(spec, &Charts::from_dir(&dir).unwrap());
        fs::remove_dir_all(&dir).unwrap();
        let Some(after) = after else { continue };
        assert_ne!(
            after.get(key),
            before.get(key),
            "{key:?}: {file}:{}: {old}",
            line + 1
        );
    }
    assert!(
        tried >= 5 && named * 10 >= literals.len() * 9,
        "{tried} tried, {named} of {} named",
        literals.len()
    );
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn an_answer_names_overlay_k8s_values_profile_and_template() {
    let answer = |object: &str| {
        let output = run_on(CR, &["why", object, "-f", "-"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let istiod = "Deployment/istiod.spec.template.spec";
    let policy = answer(&format!("{istiod}.dnsPolicy"));
    assert!(
        policy
            .contains("overlay        spec.components.pilot.k8s.overlays[0].patches[0] = Default"),
        "{policy}"
    );
    let cpu = answer(&format!(
        "{istiod}.containers[discovery].resources.requests.cpu"
    ));
    assert!(
        cpu.contains("k8s            spec.components.pilot.k8s.resources.requests.cpu = 300m"),
        "{cpu}"
    );
    let image = answer(&format!("{istiod}.containers[0].image"));
    for line in [
        "derived        spec.hub = example.com/istio",
        "version        spec.tag = ",
        "chart default  values.pilot.image = pilot",
    ] {
        assert!(image.contains(line), "{line}: {image}");
    }
    let sampling = answer(&format!(
        "{istiod}.containers[discovery].env[PILOT_TRACE_SAMPLING].value"
    ));
    assert!(
        sampling.contains("values         spec.values.pilot.traceSampling = 3"),
        "{sampling}"
    );
    let port = answer(&format!(
        "{istiod}.containers[discovery].ports[grpc-xds].containerPort"
    ));
    assert!(
        port.contains("chart template pilot/templates/deployment.yaml.hbs:"),
        "{port}"
    );
}

#[test]
fn a_question_about_what_is_not_there_says_what_is() {
    let refused = |object: &str| refusal(&run(&["why", object, "--set", "profile=minimal"]));
    assert_eq!(refused("istiod"), "expected KIND/NAME or KIND/NAME.FIELD\n");
    assert_eq!(refused("Pod/istiod"), "no Pod is rendered\n");
    assert_eq!(
        refused("Deployment/x"),
        "Deployment/x is not rendered; of this kind there are Deployment istio-system/istiod\n"
    );
    let field = refused("Deployment/istiod.spec.nothing");
    assert!(field.starts_with("spec has no nothing; it has "), "{field}");
}
