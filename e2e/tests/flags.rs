//! Files over each other, `--set` and `--revision` mean what they mean to istioctl 1.31.
//!
//! A random CR is torn into two files and single fields. Both programs have to make of the pieces what they make of the whole
//! CR; that they make the same of the whole is shown by `random_crs`. `FLAGS` sets how many are tried, `FLAGS_SEED` which.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on may stop anywhere, and says how far it came"
)]

mod random;
#[path = "random/sweep.rs"]
mod sweep;

use std::{env, fs, path::Path, process::Command};

use e2e::{host::workspace::root, istio::istioctl, operator};
use fastrand::Rng;
use istio_operator::charts::{Charts, tree::merge_over, yaml};
use random::numbered_cr;
use serde_json::{Map, Value, json};
use sweep::{Sweep, Verdict};

const MINOR: u16 = 31;
const SWEEP: Sweep = Sweep {
    variable: "FLAGS",
    count: 100,
    seed: 1300,
};

#[test]
fn pieces_mean_what_the_whole_means_to_both_programs() {
    let charts = Charts::embedded().unwrap();
    let dir = env::temp_dir().join(format!("flags-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    SWEEP.run(|seed, index| {
        let (mut sampler, cr) = numbered_cr(&charts, MINOR, (seed, index), |_| None);
        let pieces = Pieces::of(cr, &mut sampler.rng);
        match pieces.judge(&dir, index) {
            Ok(true) => Verdict::Equal,
            Ok(false) => Verdict::Refused,
            Err(why) => Verdict::Different(format!("{why}\n{:?}", pieces.flags)),
        }
    });
    fs::remove_dir_all(&dir).unwrap();
}

/// A CR and the pieces that it was torn into.
struct Pieces {
    whole: Value,
    files: [Value; 2],
    flags: Vec<String>,
}

impl Pieces {
    fn of(mut whole: Value, rng: &mut Rng) -> Self {
        let mut flags = Vec::new();
        if rng.usize(..3) == 0 {
            if let Some(values) = whole["spec"]["values"].as_object_mut() {
                values.remove("revision");
            }
            whole["spec"]["revision"] = "canary".into();
            flags.extend(["--revision".to_owned(), "canary".to_owned()]);
        }
        let mut specs = [json!({}), json!({})];
        let fields = whole["spec"].as_object().cloned().unwrap_or_default();
        let mut set = Vec::new();
        for (key, value) in &fields {
            if key == "revision" && !flags.is_empty() {
                continue;
            }
            tear(&mut vec![key.clone()], value, rng, &mut specs, &mut set);
        }
        rng.shuffle(&mut set);
        let set = set
            .into_iter()
            .flat_map(|assignment| ["--set".to_owned(), assignment]);
        let flags = set.chain(flags).collect();
        let cr = |spec: Value| json!({"apiVersion": whole["apiVersion"], "kind": whole["kind"], "metadata": whole["metadata"], "spec": spec});
        let files = specs.map(cr);
        Self {
            whole,
            files,
            flags,
        }
    }

    /// Whether both programs accept the CR, and make the same of it; an error if one makes something else of the pieces.
    fn judge(&self, dir: &Path, index: usize) -> Result<bool, String> {
        let mut pieces = Vec::new();
        for (number, file) in self.files.iter().enumerate() {
            let path = dir.join(format!("{index}-{number}.yaml"));
            fs::write(&path, file.to_string()).unwrap();
            pieces.extend(["-f".to_owned(), path.display().to_string()]);
        }
        pieces.extend(self.flags.iter().cloned());
        let whole = ["-f".to_owned(), "-".to_owned()];
        let input = self.whole.to_string();
        let theirs = istioctl::generate_with(&whole, &input).unwrap();
        let theirs_of_pieces = istioctl::generate_with(&pieces, "").unwrap();
        let same = match (&theirs, &theirs_of_pieces) {
            (Ok(whole), Ok(pieces)) => whole == pieces,
            (Err(_), Err(_)) => true,
            _ => false,
        };
        if !same {
            // What istioctl reads otherwise by itself is no question to us.
            return Ok(false);
        }
        let ours = ours(&whole, &input);
        let ours_of_pieces = self::ours(&pieces, "");
        match (ours, ours_of_pieces) {
            (Ok(whole), Ok(pieces)) if whole == pieces => Ok(theirs.is_ok()),
            (Ok(_), Ok(_)) => Err("other objects".to_owned()),
            (Err(whole), Err(pieces)) if whole == pieces => Ok(false),
            (whole, pieces) => Err(format!("{:?} and {:?}", whole.err(), pieces.err())),
        }
    }
}

/// What our `render` prints, or what it complains about.
fn ours(flags: &[String], input: &str) -> Result<String, String> {
    let flags = ["render", "--istio-version", "1.31"]
        .into_iter()
        .chain(flags.iter().map(String::as_str));
    let said = operator::run(Path::new("/nonexistent"), &flags.collect::<Vec<_>>(), input).unwrap();
    if said.code == 0 {
        Ok(said.output)
    } else {
        Err(said.errors)
    }
}

/// Puts a field into one of the two files, or, if a flag can say it, among the flags. What lies on top hides an older value.
fn tear(
    path: &mut Vec<String>,
    value: &Value,
    rng: &mut Rng,
    specs: &mut [Value; 2],
    set: &mut Vec<String>,
) {
    if let Value::Object(fields) = value.clone()
        && !fields.is_empty()
    {
        for (key, value) in &fields {
            path.push(key.clone());
            tear(path, value, rng, specs, set);
            path.pop();
        }
        return;
    }
    let [below, above] = specs;
    let stale = match value {
        Value::Bool(flag) => Some(json!(!flag)),
        Value::Number(_) => Some(json!(7)),
        _ => None,
    };
    let assignment = assignment(path, value);
    match (rng.usize(..3), assignment) {
        (0, Some(assignment)) => {
            if let Some(stale) = stale {
                put(above, path, stale);
            }
            set.push(assignment);
        }
        (1, _) => {
            if let Some(stale) = stale {
                put(below, path, stale);
            }
            put(above, path, value.clone());
        }
        _ => put(below, path, value.clone()),
    }
}

fn put(spec: &mut Value, path: &[String], value: Value) {
    let wrap = |below: Value, key: &String| Value::Object(Map::from_iter([(key.clone(), below)]));
    let field = path.iter().rev().fold(value, wrap);
    merge_over(spec, field);
}

/// The flag that says the same, if there is one that both programs read so.
fn assignment(path: &[String], value: &Value) -> Option<String> {
    let is_plain = |key: &String| {
        !key.is_empty() && !key.contains(['[', ']', '\\', '=', ' ']) && !key.contains("..")
    };
    if !path.iter().all(is_plain)
        || path
            .last()
            .is_some_and(|key| ["tag", "hub", "version"].contains(&key.as_str()))
    {
        return None;
    }
    // Values of this map are texts to both.
    let is_texts = path.iter().any(|key| key == "proxyMetadata");
    let text = match value {
        Value::Bool(flag) if !is_texts => flag.to_string(),
        Value::Number(number) if number.is_i64() && !is_texts => number.to_string(),
        Value::String(text) => {
            let looks = yaml::parse::<Value>(text).ok();
            let is_text = text.parse::<f64>().is_err()
                && !["t", "T", "f", "F"].contains(&text.as_str())
                && looks.is_none_or(|looks| looks.is_string())
                && !text.eq_ignore_ascii_case("true")
                && !text.eq_ignore_ascii_case("false");
            let is_one_line =
                !text.contains(['\n', '\\']) && text.trim() == text && !text.is_empty();
            if !is_text || !is_one_line {
                return None;
            }
            text.clone()
        }
        _ => return None,
    };
    let keys: Vec<_> = path.iter().map(|key| key.replace('.', "\\.")).collect();
    Some(format!("{}={text}", keys.join(".")))
}

/// Upstream's profile files, as the Go module of Istio 1.31 has them, say what `profile dump` says.
#[test]
fn profiles_are_upstreams() {
    let module = Command::new("go")
        .args(["list", "-m", "-f", "{{.Dir}}", "istio.io/istio"])
        .current_dir(root().join("e2e/control-plane/istio"))
        .output()
        .unwrap();
    let module = String::from_utf8(module.stdout).unwrap();
    let read = |name: &str| -> Value {
        let file = Path::new(module.trim()).join(format!("manifests/profiles/{name}.yaml"));
        yaml::parse(&fs::read_to_string(file).unwrap()).unwrap()
    };
    let charts = Charts::embedded().unwrap();
    for name in charts.profile_names() {
        let mut expected = read("default")["spec"].take();
        merge_over(&mut expected, read(name)["spec"].take());
        let flags = [
            "profile",
            "dump",
            name,
            "--istio-version",
            "1.31",
            "-o",
            "json",
        ];
        let said = operator::run(Path::new("/nonexistent"), &flags, "").unwrap();
        let mut found = said.json().unwrap()["spec"].take();
        for spec in [&mut expected, &mut found] {
            // The source tree has other images than a release, and a profile does not name itself.
            for key in ["hub", "tag", "profile"] {
                spec.as_object_mut().unwrap().remove(key);
            }
        }
        assert_eq!(found, expected, "{name}");
    }
    assert_eq!(charts.profile_names().len(), 10);
}
