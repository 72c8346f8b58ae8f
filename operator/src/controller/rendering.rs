//! Merges and renders CRs on a thread of its own, so that the lease, probes and watches go on meanwhile.
//!
//! There is one such thread, because the heap of each further thread would keep what one rendering needed at its peak.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use serde_json::Value;
use tokio::sync::oneshot;

use super::limits::Limits;
use super::state::annotations_of;
use crate::api::condition::reason;
use crate::api::{
    FieldError, HeldProxyStatus, IstioOperator, Path, PlanStatus, RollbackStatus, StoredCr,
};
use crate::catalogue::{Catalogue, Version};
use crate::charts::Charts;
use crate::cluster::{Live, MAX_NAME};
use crate::dataplane::ServedProxies;
use crate::merge::{Cluster, ControlPlane, Merged, merge_spec, pinned, with_proxy_image};
use crate::plan::{Canary, ControlPlanes, Course, Precheck};
use crate::render::{HasTime, RenderError, Rendered, render_in_time};

/// How long merging and rendering one CR may take; the largest CR that the caps allow takes a second.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// Why nothing of a spec can be followed.
#[derive(Debug)]
pub struct SpecRejection {
    /// A reason of [`crate::api::condition::reason`].
    pub reason: &'static str,
    /// Everything that is wrong, one text each.
    pub errors: Vec<String>,
    /// Whether the same spec may be followed at another time.
    pub is_transient: bool,
}

/// A CR that was merged and rendered.
#[derive(Debug)]
pub struct RenderedSpec {
    /// The CR with every default filled in.
    pub merged: Merged,
    /// Its objects.
    pub rendered: Rendered,
    /// The change of the version that the CR asks for. If it is refused, the version that runs is rendered.
    pub upgrade: Option<Precheck>,
    /// What the change does that the CR asks for. If it waits for approval, what runs is rendered.
    pub plan: Option<PlanStatus>,
    /// Why the last healthy version is rendered instead of the one that the CR asks for.
    pub rollback: Option<RollbackStatus>,
    /// The control plane that takes the place of another one. While it is not promoted, it stands beside that one, which
    /// `merged` is about.
    pub canary: Option<RenderedCanary>,
    /// The image that proxies are held at.
    pub held_proxy: Option<HeldProxyStatus>,
}

/// A control plane that takes the place of another one, as it was rendered.
#[derive(Clone, Debug)]
pub struct RenderedCanary {
    /// Both control planes.
    pub canary: Canary,
    /// The CR with the new one.
    pub merged: Merged,
    /// Why a person has to approve what comes next.
    pub awaits: Option<String>,
}

impl RenderedSpec {
    /// The canary that is not promoted yet.
    #[must_use]
    pub fn unpromoted(&self) -> Option<&RenderedCanary> {
        let canary = self.canary.as_ref();
        canary.filter(|canary| !canary.canary.is_promoted)
    }

    /// The CR with the control plane that it shall have in the end.
    #[must_use]
    pub fn asked(&self) -> &Merged {
        self.canary
            .as_ref()
            .map_or(&self.merged, |canary| &canary.merged)
    }

    /// What stands against the change of the version that `cr` asks for, if it asks for one.
    #[must_use]
    pub fn precheck(
        &self,
        cr: &IstioOperator,
        live: &Live,
        catalogue: &Catalogue,
        proxies: &ServedProxies,
    ) -> Option<Precheck> {
        let asked = self.asked();
        match self.canary.as_ref().map(|rendered| &rendered.canary) {
            None => Precheck::of_cr(cr, asked, live, catalogue, proxies),
            // It serves by now.
            Some(canary) if canary.is_promoted => None,
            Some(canary) => Some(Precheck::of_canary(
                asked,
                canary.from.version,
                live,
                catalogue,
                proxies,
                &annotations_of(cr).skipped_checks,
            )),
        }
    }
}

/// What of a CR is rendered.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// What it asks for, beside the control planes that it has.
    Spec(ControlPlanes),
    /// What it asks for, with this image of proxies.
    WithProxy(String),
    /// What it asks for, in this version.
    Version(Version),
    /// This control plane, where it asks for the version of the second one.
    Plane(ControlPlane, Version),
}

/// A rendered CR, or why there is none.
pub(super) type RenderResult = Result<RenderedSpec, SpecRejection>;

/// One CR to render, and where the result goes.
struct Job {
    cr: Arc<StoredCr>,
    wanted: Wanted,
    result: oneshot::Sender<RenderResult>,
}

/// The thread that renders; it ends when this is dropped.
#[derive(Debug)]
pub struct RenderThread {
    jobs: mpsc::Sender<Job>,
}

impl RenderThread {
    /// Starts the thread. The error is that of the operating system.
    pub fn start(charts: Arc<Charts>, cluster: Cluster, limits: Limits) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let work = move || {
            for Job { cr, wanted, result } in queue {
                // A pass that was cut off waits for nothing any more.
                if !result.is_closed() {
                    // A canary and the control plane beside it are rendered one after the other.
                    let renders = if cr.update_strategy().is_canary() {
                        2
                    } else {
                        1
                    };
                    let deadline = Instant::now() + TIME_LIMIT * renders;
                    let has_time = || Instant::now() < deadline;
                    let rendering = Rendering {
                        cr: &cr,
                        cluster,
                        charts: &charts,
                        limits: &limits,
                        has_time: &has_time,
                    };
                    // Nobody may wait any more by now.
                    let _ = result.send(rendering.run(&wanted));
                }
            }
        };
        thread::Builder::new().name("render".into()).spawn(work)?;
        Ok(Self { jobs })
    }

    /// Merges and renders a CR, after those that were asked for before.
    pub async fn render(&self, cr: Arc<StoredCr>, wanted: Wanted) -> RenderResult {
        let (result, rendered) = oneshot::channel();
        let job = Job { cr, wanted, result };
        // If the thread is gone, the result is dropped with the job.
        let _ = self.jobs.send(job);
        let ended = |_| Err(SpecRejection::internal("the thread that renders has ended"));
        rendered.await.unwrap_or_else(ended)
    }
}

impl SpecRejection {
    fn new(reason: &'static str, errors: &[impl ToString]) -> Self {
        Self {
            reason,
            errors: errors.iter().map(ToString::to_string).collect(),
            is_transient: false,
        }
    }

    fn internal(text: &str) -> Self {
        let error = format!("the operator failed on this spec: {text}");
        Self::new(reason::INTERNAL_ERROR, &[error])
    }
}

/// CR → merged → rendered, without limits: for commands, which have no operator.
pub(super) fn render_spec(
    cr: &StoredCr,
    wanted: &Wanted,
    cluster: Cluster,
    charts: &Charts,
) -> RenderResult {
    let rendering = Rendering {
        cr,
        cluster,
        charts,
        limits: &Limits::none(),
        has_time: &|| true,
    };
    rendering.run(wanted)
}

/// One CR that is rendered.
struct Rendering<'a> {
    cr: &'a StoredCr,
    cluster: Cluster,
    charts: &'a Charts,
    limits: &'a Limits,
    has_time: HasTime<'a>,
}

impl Rendering<'_> {
    fn run(&self, wanted: &Wanted) -> RenderResult {
        let spec = &self.cr.spec.0;
        catch_panic(|| match wanted {
            Wanted::Version(version) => self.alone(spec, Some(*version)),
            Wanted::Plane(plane, asked) => self.plane(plane, *asked),
            Wanted::WithProxy(image) => self.alone(&with_proxy_image(spec, image), None),
            Wanted::Spec(planes) => {
                let merged = self.merge(spec, None)?;
                if merged.is_canary() {
                    self.on_course(merged, planes)
                } else {
                    self.render(merged)
                }
            }
        })
    }

    /// What the CR is beside the control planes that it has.
    fn on_course(&self, merged: Merged, planes: &ControlPlanes) -> RenderResult {
        let asked = merged.version;
        let canary = match planes.course(&merged) {
            Course::Alone(plane) if plane == merged.control_plane() => return self.render(merged),
            Course::Alone(plane) => return self.plane(&plane, asked),
            Course::Canary(canary) => canary,
        };
        let new = if canary.to == merged.control_plane() {
            self.render(merged)?
        } else {
            self.plane(&canary.to, asked)?
        };
        if canary.is_promoted {
            let merged = new.merged.clone();
            return Ok(RenderedSpec {
                canary: Some(RenderedCanary::of(canary, merged)),
                ..new
            });
        }
        let mut old = self.plane(&canary.from, asked).map_err(|mut rejection| {
            let which = format!(
                "Istio {}, which runs until the canary is promoted: ",
                canary.from.version
            );
            for error in &mut rejection.errors {
                error.insert_str(0, &which);
            }
            rejection
        })?;
        old.merged.warnings.clone_from(&new.merged.warnings);
        Ok(RenderedSpec {
            rendered: old.rendered.with_canary(new.rendered),
            canary: Some(RenderedCanary::of(canary, new.merged)),
            ..old
        })
    }

    /// The CR with just this control plane.
    fn plane(&self, plane: &ControlPlane, asked: Version) -> RenderResult {
        self.alone(&pinned(&self.cr.spec.0, asked, plane), None)
    }

    fn alone(&self, spec: &Value, version: Option<Version>) -> RenderResult {
        self.render(self.merge(spec, version)?)
    }

    fn render(&self, merged: Merged) -> RenderResult {
        let rendered = render_in_time(&merged, self.charts, self.has_time);
        let rendered = rendered.map_err(|errors| SpecRejection {
            is_transient: matches!(errors[..], [RenderError::OutOfTime(_)]),
            ..SpecRejection::new(reason::RENDER_FAILED, &errors)
        })?;
        let allowed = self.limits.check(&merged, &rendered);
        allowed.map_err(|errors| SpecRejection::new(reason::NOT_ALLOWED, &errors))?;
        Ok(RenderedSpec {
            merged,
            rendered,
            upgrade: None,
            plan: None,
            rollback: None,
            canary: None,
            held_proxy: None,
        })
    }

    /// Spec → merged, with what only a cluster needs. A name that is too long for a label is one more error.
    fn merge(&self, spec: &Value, version: Option<Version>) -> Result<Merged, SpecRejection> {
        let cr = self.cr;
        if !cr.field_errors().is_empty() {
            return Err(SpecRejection::new(reason::INVALID_SPEC, cr.field_errors()));
        }
        let version = version.map(|version| version.to_string());
        let merged = merge_spec(spec, version.as_deref(), self.cluster, self.charts);
        let mut errors = merged.as_ref().err().cloned().unwrap_or_default();
        let length = cr.name_any().len();
        if length > MAX_NAME {
            let problem = format!(
                "is a label of every object and may have {MAX_NAME} characters, not {length}"
            );
            errors.push(FieldError::new(Path::root("metadata").key("name"), problem));
        }
        match merged {
            Ok(merged) if errors.is_empty() => Ok(merged.for_cluster()),
            _ => Err(SpecRejection::new(reason::INVALID_SPEC, &errors)),
        }
    }
}

impl RenderedCanary {
    fn of(canary: Canary, merged: Merged) -> Self {
        Self {
            canary,
            merged,
            awaits: None,
        }
    }
}

/// Runs a pure stage and turns a panic in it into a rejection of this CR.
pub fn catch_panic<T>(
    stage: impl FnOnce() -> Result<T, SpecRejection>,
) -> Result<T, SpecRejection> {
    catch_unwind(AssertUnwindSafe(stage)).unwrap_or_else(|panic| {
        let text = panic_text(panic.as_ref());
        tracing::error!(panic = text, "a stage panicked");
        Err(SpecRejection::internal(text))
    })
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{IstioOperator, RawSpec};

    fn spec() -> Wanted {
        Wanted::Spec(ControlPlanes::default())
    }

    #[test]
    fn a_render_without_time_left_is_told_as_transient() {
        let charts = Charts::embedded().unwrap();
        let cr = IstioOperator::new("cr", RawSpec(json!({"profile": "minimal"}))).into();
        let rendering = Rendering {
            cr: &cr,
            cluster: Cluster::default(),
            charts: &charts,
            limits: &Limits::none(),
            has_time: &|| false,
        };
        let rejected = rendering.run(&spec()).unwrap_err();
        assert!(rejected.is_transient);
        assert_eq!(rejected.reason, reason::RENDER_FAILED);
        assert_eq!(rejected.errors.len(), 1, "{:?}", rejected.errors);
        assert!(render_spec(&cr, &spec(), Cluster::default(), &charts).is_ok());
    }

    #[tokio::test]
    async fn a_panic_in_one_render_leaves_the_thread_to_the_next_ones() {
        let charts = Arc::new(Charts::embedded().unwrap());
        let thread = RenderThread::start(charts, Cluster::default(), Limits::none()).unwrap();
        let cr = |spec| Arc::new(IstioOperator::new("cr", RawSpec(spec)).into());
        let caught = catch_panic::<()>(|| panic!("oops")).unwrap_err();
        assert_eq!(caught.reason, reason::INTERNAL_ERROR);
        let wrong = thread.render(cr(json!({"profile": "none"})), spec()).await;
        assert_eq!(wrong.unwrap_err().reason, reason::INVALID_SPEC);
        let right = thread
            .render(cr(json!({"profile": "minimal"})), spec())
            .await;
        assert!(!right.unwrap().rendered.components.is_empty());
    }
}
