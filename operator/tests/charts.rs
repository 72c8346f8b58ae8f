//! What `charts/README.md` promises about minors: they come from `charts/versions.yaml` alone.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use istio_operator::api::IstioOperator;
use istio_operator::charts::Charts;
use istio_operator::merge::{Cluster, merge};
use istio_operator::render::render;
use regex::Regex;

const CHARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts");
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../samples");

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// A copy of the charts in a directory of their own, which goes with this.
struct Copy(PathBuf);

impl Copy {
    fn new() -> Self {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("charts-with-a-new-minor");
        let _ = fs::remove_dir_all(&target);
        for file in files(Path::new(CHARTS)) {
            let to = target.join(file.strip_prefix(CHARTS).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&file, to).unwrap();
        }
        Self(target)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The steps of "How to add a minor": one row.
#[test]
fn a_new_minor_is_one_row_and_every_sample_renders_in_it() {
    let known = Charts::embedded().unwrap();
    let newest = known.catalogue().releases().last().unwrap();
    let new = newest.version.minor + 1;
    let copy = Copy::new();
    let versions = copy.0.join("versions.yaml");
    let row = format!(
        "  - {{minor: \"1.{new}\", patch: 0, hub: {}, kubernetes: \"1.{}\", endOfLife: 2099-12-31, \
         compatibility: [\"{}\"]}}\n",
        newest.hub,
        newest.kubernetes,
        newest.version.minor_text()
    );
    fs::write(&versions, fs::read_to_string(&versions).unwrap() + &row).unwrap();
    let charts = Charts::from_dir(&copy.0).unwrap();
    let mut rendered = 0;
    for sample in files(Path::new(SAMPLES)) {
        let cr: IstioOperator =
            serde_saphyr::from_str(&fs::read_to_string(&sample).unwrap()).unwrap();
        let minor = format!("1.{new}");
        let merged = merge(&cr, Some(&minor), Cluster::default(), &charts);
        let merged = merged.unwrap_or_else(|errors| panic!("{}: {errors:?}", sample.display()));
        assert_eq!(merged.version.minor, new);
        let objects = render(&merged, &charts);
        let objects = objects.unwrap_or_else(|errors| panic!("{}: {errors:?}", sample.display()));
        assert!(!objects.components.is_empty(), "{}", sample.display());
        rendered += 1;
    }
    assert!(rendered > 0, "there are no samples");
}

/// A gate that is open, or shut, in every known minor is to be deleted: this is what dropping a minor leaves to do.
#[test]
fn no_gate_is_dead() {
    let charts = Charts::embedded().unwrap();
    let minors = charts.catalogue().releases().iter();
    let minors: Vec<u16> = minors.map(|release| release.version.minor).collect();
    let (oldest, newest) = (minors[0], minors[minors.len() - 1]);
    let inline = Regex::new(r#"(since|until):? *"?1\.(\d+)"#).unwrap();
    let section = Regex::new(r"^(since|until):").unwrap();
    let key = Regex::new(r#"^  "1\.(\d+)":"#).unwrap();
    let mut dead = Vec::new();
    let mut gates = 0;
    for file in files(Path::new(CHARTS)) {
        let mut sections = None;
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            if let Some(found) = section.captures(line) {
                sections = Some(found[1].to_owned());
            } else if !line.starts_with(' ') && !line.is_empty() {
                sections = None;
            }
            let is_comment = line.trim_start().starts_with('#');
            let inline = inline.captures_iter(line).filter(|_| !is_comment);
            let mut found: Vec<_> = inline
                .map(|gate| (gate[1].to_owned(), gate[2].parse::<u16>().unwrap()))
                .collect();
            if let (Some(kind), Some(gate)) = (&sections, key.captures(line)) {
                found.push((kind.clone(), gate[1].parse().unwrap()));
            }
            gates += found.len();
            for (kind, minor) in found {
                let is_alive = match kind.as_str() {
                    "since" => oldest < minor && minor <= newest,
                    _ => oldest <= minor && minor < newest,
                };
                if !is_alive {
                    let place = format!("{}:{}", file.display(), number + 1);
                    dead.push(format!("{place}: {kind} 1.{minor}"));
                }
            }
        }
    }
    assert!(gates > 100, "only {gates} gates were found");
    assert!(dead.is_empty(), "dead gates: {dead:#?}");
}
