//! CR → [`Merged`]: lays the user's settings over the profile and gives the values of each component.
//!
//! Pure: takes no client and reads no clock, environment or file.

mod absent;
mod addons;
mod canary;
mod chart_layers;
mod check;
mod cluster;
mod component;
mod derive;
mod migrate;
mod old_forms;
mod overlay;
mod profile;
mod proxy;
mod removed;
mod restarts;
mod tree;
mod version;

use serde_json::{Map, Value};

use crate::api::{ComponentKind, FieldError, IstioOperator, Path, Warning};
use crate::catalogue::Version;
use crate::charts::Charts;
use crate::charts::tree::{at as tree_at, merge_over};
use check::{Checked, Findings, limits};
pub(crate) use check::{named, nearest};
use component::Installation;
use tree::{plain_numbers, scalar_text, text_at};

pub use canary::{ControlPlane, pinned, revision_label};
pub use chart_layers::chart_layers;
pub use cluster::Cluster;
pub use migrate::{Change, Migration, SpecKind, What, at_path, migrate};
pub use profile::profile_spec;
pub use proxy::with_proxy_image;
pub use restarts::RestartSettings;
pub use version::out_of_support;

/// A CR with every default filled in. Only [`merge`] makes one, which `tests/invariants.rs` checks.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The Istio version whose charts are rendered.
    pub version: Version,
    /// `spec.revision` after derivation; empty for the default revision.
    pub revision: String,
    /// The revision that the author named; another one than `revision` where canaries are named after their versions.
    pub named_revision: String,
    /// The namespace that Istio is installed in (`values.global.istioNamespace`).
    pub namespace: String,
    /// What is known of the cluster.
    pub cluster: Cluster,
    /// The enabled components, in render order; a gateway list gives one entry per gateway.
    pub components: Vec<Component>,
    /// Whether what only a cluster needs is rendered too, see [`Merged::for_cluster`].
    pub is_for_cluster: bool,
    /// What the author should look at.
    pub warnings: Vec<Warning>,
    /// What it was merged from.
    pub source: Source,
}

/// What a CR was merged from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The spec as its author wrote it, without nulls that count as absent.
    pub spec: Value,
    /// The version that the command line chose.
    pub istio_version: Option<String>,
}

impl Merged {
    /// The same with what `istioctl manifest generate` leaves out.
    ///
    /// That is the default tag, as `istioctl install` has it: namespaces labeled `istio-injection=enabled` and objects that
    /// name no revision then belong to this one. The cluster decides which revision has it. And injected pods get an
    /// annotation with the version of their proxy, because nothing else in their metadata tells it.
    #[must_use]
    pub fn for_cluster(self) -> Self {
        let is_for_cluster = true;
        Self {
            is_for_cluster,
            ..self
        }
    }

    /// The version of the proxies that istiod injects, by their image; none if nothing tells it. A tag that tells none is of
    /// the version that the spec names, if it names one.
    #[must_use]
    pub fn proxy_version(&self) -> Option<Version> {
        let pilot = self
            .components
            .iter()
            .find(|component| component.kind == ComponentKind::Pilot)?;
        let text = |keys: &[&str]| text_at(&pilot.values, keys).unwrap_or_default();
        let (image, tag) = (
            text(&["global", "proxy", "image"]),
            text(&["global", "tag"]),
        );
        if image.contains('/') {
            return Version::of_image(image);
        }
        let is_named = tag.is_empty() || self.source.spec.get("version").is_some();
        Version::of_tag(tag).or_else(|| is_named.then_some(self.version))
    }

    /// The tag of its images, if it is one that names no Istio version.
    #[must_use]
    pub fn unversioned_tag(&self) -> Option<String> {
        let is_pilot = |component: &&Component| component.kind == ComponentKind::Pilot;
        let pilot = self.components.iter().find(is_pilot)?;
        let tag = tree_at(&pilot.values, &["global", "tag"]).and_then(scalar_text);
        tag.filter(|tag| !tag.is_empty() && version::minor_of(tag).is_none())
    }

    /// The same CR with another spec; none if that is refused.
    pub(crate) fn with_spec(&self, spec: &Value, charts: &Charts) -> Option<Self> {
        let istio_version = self.source.istio_version.as_deref();
        let merged = merge_spec(spec, istio_version, self.cluster, charts).ok()?;
        Some(Self {
            is_for_cluster: self.is_for_cluster,
            ..merged
        })
    }
}

/// One component to render.
#[derive(Clone, Debug)]
pub struct Component {
    /// Which component this is.
    pub kind: ComponentKind,
    /// The name of its workload: `istiod`, `istiod-<revision>`, or a gateway's own name. Empty for
    /// base.
    pub name: String,
    /// The namespace of its objects.
    pub namespace: String,
    /// The user-level values that its chart is rendered with, before chart defaults and chart
    /// profiles.
    pub values: Value,
    /// The `k8s` block without `overlays`: a JSON object, empty if there is none.
    pub k8s: Value,
    /// `k8s.overlays`, in list order.
    pub overlays: Vec<Overlay>,
    /// The component's field in the CR, for warnings and errors.
    pub path: Path,
    /// Its position in the list of gateways; none if it is no entry of a list.
    pub index: Option<usize>,
}

/// One entry of `k8s.overlays`. Its `apiVersion` is not kept, because upstream does not select objects by it.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// The kind of the objects to change.
    pub kind: String,
    /// The name of the objects to change.
    pub name: String,
    /// The changes, in order.
    pub patches: Vec<OverlayPatch>,
    /// The overlay's field in the CR.
    pub path: Path,
}

/// One entry of `k8s.overlays[].patches`.
#[derive(Clone, Debug)]
pub struct OverlayPatch {
    /// The path inside the object, in upstream's overlay language.
    pub target: String,
    /// The new value; null deletes.
    pub value: Value,
    /// The patch's field in the CR.
    pub path: Path,
}

/// Fills in every default of a CR and checks it.
///
/// `istio_version` is the version that the command line chose; it wins over `spec.version` and `spec.tag`. On failure, gives every error of the CR at once, ordered by path.
pub fn merge(
    cr: &IstioOperator,
    istio_version: Option<&str>,
    cluster: Cluster,
    charts: &Charts,
) -> Result<Merged, Vec<FieldError>> {
    merge_spec(&cr.spec.0, istio_version, cluster, charts)
}

/// The warnings of a spec; or if it is wrong, its errors, with the old forms among them.
fn warnings_unless_wrong(
    findings: Findings,
    old_forms: Vec<Warning>,
) -> Result<Vec<Warning>, Vec<FieldError>> {
    let Findings {
        mut errors,
        mut warnings,
        ..
    } = findings;
    if errors.is_empty() {
        warnings.sort();
        warnings.dedup();
        return Ok(warnings);
    }
    errors.extend(old_forms.into_iter().map(FieldError::from));
    errors.sort();
    errors.dedup();
    Err(errors)
}

/// Does what [`merge`] does with a spec by itself.
pub fn merge_spec(
    spec: &Value,
    istio_version: Option<&str>,
    cluster: Cluster,
    charts: &Charts,
) -> Result<Merged, Vec<FieldError>> {
    let mut findings = Findings::default();
    let mut user = user_spec(spec, &mut findings);
    let moved = old_forms::move_into_spec(&mut user);
    limits::check(&user, &mut findings);
    if !findings.errors.is_empty() {
        // Checking the rest would take what the limits are there to save.
        return Err(findings.errors);
    }
    findings.add(moved);
    let version = version::choose(&user, istio_version, charts.catalogue());
    let version = version.unwrap_or_else(|error| {
        findings.errors.push(error);
        // The rest of the spec is checked as well as it can be.
        charts.catalogue().default_version()
    });
    // If a file of the schema cannot be read, the check of fields reports it.
    if let Ok(schema) = charts.schema(version.minor) {
        old_forms::translate(&mut user, schema, &mut findings);
    }
    // A CR that has to be changed is told of its old forms, too.
    let old_forms = findings.warnings.clone();
    match charts.removed() {
        Ok(table) => removed::take_out(&mut user, table, version.minor, &mut findings),
        Err(error) => findings.error(Path::root("spec"), error.to_string()),
    }
    let user = without_needed_nulls(user, version, charts);
    let mut profile = profile::read(&user, version, charts, &mut findings);
    if let Err(error) = cluster.lay_settings(&mut profile, &user, version, charts) {
        findings.error(Path::root("spec").key("profile"), error.to_string());
    }
    let mut spec = derive::derive(profile, &user, version, charts.catalogue());
    let named_revision = canary::name_revision(&mut spec, version);
    let namespace = namespace(&spec);
    let mut spec = with_unvalidated(spec);
    addons::translate(&mut spec, &mut findings);
    if let Err(error) = addons::wire_mesh(&mut spec, &namespace, version.minor, charts) {
        findings.error(Path::root("spec").key("addonComponents"), error.to_string());
    }
    let revision = text_at(&spec, &["values", "revision"]).unwrap_or_default();
    let components = Installation {
        spec: &spec,
        namespace: &namespace,
        revision,
        version,
        catalogue: charts.catalogue(),
    }
    .components();
    Checked {
        user: &user,
        spec: &spec,
        namespace: &namespace,
        components: &components,
        version,
        charts,
        layers: Value::Null,
    }
    .run(&mut findings);

    let warnings = warnings_unless_wrong(findings, old_forms)?;
    let revision = revision.to_owned();
    let source = Source {
        spec: user,
        istio_version: istio_version.map(str::to_owned),
    };
    Ok(Merged {
        version,
        revision,
        named_revision,
        namespace,
        cluster,
        components,
        is_for_cluster: false,
        warnings,
        source,
    })
}

/// The namespace that Istio is installed in. As upstream has it, `unvalidatedValues` cannot change it.
fn namespace(spec: &Value) -> String {
    text_at(spec, &["values", "global", "istioNamespace"])
        .unwrap_or("istio-system")
        .to_owned()
}

/// The spec as its author wrote it. A null at the top counts as absent, as does a spec that is null.
fn user_spec(spec: &Value, findings: &mut Findings) -> Value {
    let mut spec = spec.clone();
    plain_numbers(&mut spec);
    match spec {
        Value::Object(mut fields) => {
            fields.retain(|_, value| !value.is_null());
            return Value::Object(fields);
        }
        Value::Null => {}
        other => findings
            .errors
            .push(check::unlike("an object", &other, &Path::root("spec"))),
    }
    Value::Object(Map::new())
}

/// The spec without those nulls in its values that no chart can be rendered with.
fn without_needed_nulls(mut spec: Value, version: Version, charts: &Charts) -> Value {
    // If the schema does not compile, the check of fields reports it.
    if let Ok(schema) = charts.schema(version.minor) {
        for key in ["values", "unvalidatedValues"] {
            if let Some(values) = spec.get_mut(key) {
                absent::drop_needed_nulls(values, &schema.values, &schema.shapes);
            }
        }
    }
    spec
}

/// The spec with `unvalidatedValues` laid over `values`. Everything that upstream derives from `values` is derived before.
fn with_unvalidated(mut spec: Value) -> Value {
    if let Some(unvalidated @ Value::Object(_)) = spec.get("unvalidatedValues").cloned() {
        let mut values = spec["values"].take();
        merge_over(&mut values, unvalidated);
        spec["values"] = values;
    }
    spec
}
