//! Leadership: at most one operator out of several writes.
//!
//! A `Lease` is written with the resource version that was read, so of two candidates one gets a conflict. It counts as
//! expired by our own monotonic clock since we last saw it change: clocks of two machines are never compared. Whoever
//! cannot renew in time stops writing before another one may start, and the process ends.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::Instant;

use crate::cluster::version;

/// The name of the lease.
const NAME: &str = "istio-operator";
/// A lease that nobody renewed for this long may be taken.
const DURATION: Duration = Duration::from_secs(15);
/// Whoever leads and could not renew for this long stops; below [`DURATION`], so that no two lead.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often the lease is renewed, or looked at.
const PERIOD: Duration = Duration::from_secs(2);
/// The longest that one call may take: two fit into the deadline.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// Whether this process may write.
#[derive(Clone, Debug)]
pub struct Leadership {
    renewed: Option<Arc<Mutex<Option<Instant>>>>,
}

impl Leadership {
    /// Of an operator that has no rivals.
    #[must_use]
    pub const fn alone() -> Self {
        Self { renewed: None }
    }

    fn contended() -> Self {
        Self {
            renewed: Some(Arc::new(Mutex::new(None))),
        }
    }

    /// Whether the lease was renewed recently enough to write.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.left() > Duration::ZERO
    }

    /// How long this process may write unless the lease is renewed.
    #[must_use]
    pub fn left(&self) -> Duration {
        let Some(renewed) = &self.renewed else {
            return Duration::MAX;
        };
        let renewed = *renewed.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.map_or(Duration::ZERO, |renewed| {
            DEADLINE.saturating_sub(renewed.elapsed())
        })
    }

    fn set(&self, renewed: Option<Instant>) {
        if let Some(slot) = &self.renewed {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = renewed;
        }
    }
}

/// The calls that leadership needs.
pub trait Leases {
    /// Reads the lease; `None` if there is none.
    fn read(&self) -> impl Future<Output = kube::Result<Option<Lease>>> + Send;
    /// Writes the lease: creates it if `lease` has no resource version, else replaces that very version.
    fn write(&self, lease: &Lease) -> impl Future<Output = kube::Result<Lease>> + Send;
}

impl Leases for Api<Lease> {
    async fn read(&self) -> kube::Result<Option<Lease>> {
        self.get_opt(NAME).await
    }

    async fn write(&self, lease: &Lease) -> kube::Result<Lease> {
        let params = PostParams::default();
        match lease.metadata.resource_version {
            None => self.create(&params, lease).await,
            Some(_) => self.replace(NAME, &params, lease).await,
        }
    }
}

/// One operator that wants to lead, or leads.
pub struct Candidate<L = Api<Lease>> {
    leases: L,
    identity: String,
    leadership: Leadership,
    seen: Option<(Lease, Instant)>,
}

impl<L> fmt::Debug for Candidate<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Candidate {
    /// A candidate for the lease in `namespace`. The client must not retry by itself: a write that succeeds late is
    /// worse than one that fails.
    #[must_use]
    pub fn new(client: Client, namespace: &str, identity: String) -> Self {
        Self::over(Api::namespaced(client, namespace), identity)
    }
}

impl<L: Leases> Candidate<L> {
    /// A candidate that makes its calls through `leases`.
    pub fn over(leases: L, identity: String) -> Self {
        Self {
            leases,
            identity,
            leadership: Leadership::contended(),
            seen: None,
        }
    }

    /// Tells the rest of the process whether it may write.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Waits until this candidate leads; calls `beat` each time it has read the lease.
    pub async fn acquire(&mut self, heartbeat: impl Fn()) {
        while !self.try_acquire().await {
            heartbeat();
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Renews the lease until that fails for too long; then this process must end.
    ///
    /// It ends on time even while a renewal hangs, because [`Leadership::left`] bounds every write.
    pub async fn keep(&mut self) {
        while self.leadership.is_held() {
            let left = self.leadership.left();
            let renewal = async {
                tokio::time::sleep(PERIOD).await;
                self.renew().await;
            };
            // Cut off, it counts as failed.
            let _ = tokio::time::timeout(left, renewal).await;
        }
    }

    /// Gives the lease up, so that another candidate need not wait. It is read once more, because a renewal may have been
    /// cut off before its answer came.
    pub async fn release(&mut self) {
        self.leadership.set(None);
        let Some(Some(mut lease)) = self.call(self.leases.read()).await else {
            return;
        };
        if holder(&lease) != Some(&self.identity) {
            return;
        }
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        self.call(self.leases.write(&lease)).await;
    }

    /// Looks at the lease once and takes it if it is free.
    async fn try_acquire(&mut self) -> bool {
        let Some(read) = self.call(self.leases.read()).await else {
            return false;
        };
        let now = Instant::now();
        let lease = read.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                ..ObjectMeta::default()
            },
            ..Lease::default()
        });
        let is_known = self
            .seen
            .as_ref()
            .is_some_and(|(seen, _)| seen.spec == lease.spec);
        if !is_known {
            self.seen = Some((lease.clone(), now));
        }
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        is_free(&lease, &self.identity, now.duration_since(since)) && self.take(lease, now).await
    }

    async fn renew(&mut self) {
        let now = Instant::now();
        let Some((seen, _)) = self.seen.clone() else {
            return;
        };
        if self.take(seen.clone(), now).await {
            return;
        }
        // The version may be outdated by a write whose answer was lost; if the lease is still ours, go on from there.
        let Some(Some(lease)) = self.call(self.leases.read()).await else {
            return;
        };
        if version(&lease.metadata) < version(&seen.metadata) {
            // The store was restored from a backup. Watches that go on from a version which it has not reached yet tell of
            // nothing, so everything has to be listed anew.
            tracing::error!("resource versions went back: the cluster was restored from a backup");
            self.leadership.set(None);
        } else if holder(&lease) == Some(&self.identity) {
            self.seen = Some((lease, now));
        } else {
            tracing::error!(holder = holder(&lease), "another operator took the lease");
            self.leadership.set(None);
        }
    }

    /// Writes `lease` as ours. Leadership counts from before the call, because that is when others may count from.
    async fn take(&mut self, mut lease: Lease, now: Instant) -> bool {
        let spec = lease.spec.get_or_insert_default();
        claim(spec, &self.identity, MicroTime(Timestamp::now()));
        let Some(written) = self.call(self.leases.write(&lease)).await else {
            return false;
        };
        self.seen = Some((written, now));
        self.leadership.set(Some(now));
        true
    }

    async fn call<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Option<T> {
        match tokio::time::timeout(CALL_LIMIT, call).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease cannot be read or written");
                None
            }
            Err(_) => {
                tracing::warn!("the API server did not answer about the lease in time");
                None
            }
        }
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    let holder = lease.spec.as_ref()?.holder_identity.as_ref()?;
    (!holder.is_empty()).then_some(holder)
}

/// Whether `identity` may take a lease that has not changed for `unchanged`.
fn is_free(lease: &Lease, identity: &String, unchanged: Duration) -> bool {
    holder(lease).is_none_or(|holder| holder == identity) || unchanged >= DURATION
}

fn claim(spec: &mut LeaseSpec, identity: &str, now: MicroTime) {
    if spec.holder_identity.as_deref() != Some(identity) {
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default() + 1);
        spec.acquire_time = Some(now.clone());
        spec.holder_identity = Some(identity.to_owned());
    }
    spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
    spec.renew_time = Some(now);
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    /// The API server as far as one lease goes: replacing an old version is a conflict.
    #[derive(Clone, Default)]
    struct Server(Arc<Mutex<(Option<Lease>, u32)>>);

    impl Leases for Server {
        async fn read(&self) -> kube::Result<Option<Lease>> {
            Ok(self.0.lock().unwrap().0.clone())
        }

        async fn write(&self, lease: &Lease) -> kube::Result<Lease> {
            let mut stored = self.0.lock().unwrap();
            let version = stored
                .0
                .as_ref()
                .and_then(|lease| lease.metadata.resource_version.clone());
            if lease.metadata.resource_version != version {
                let status =
                    Status::failure("the object has been modified", "Conflict").with_code(409);
                return Err(kube::Error::Api(status.boxed()));
            }
            stored.1 += 1;
            let mut lease = lease.clone();
            lease.metadata.resource_version = Some(stored.1.to_string());
            stored.0 = Some(lease.clone());
            Ok(lease)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_until_it_lets_go() {
        let server = Server::default();
        let mut first = Candidate::over(server.clone(), "first".into());
        let mut second = Candidate::over(server.clone(), "second".into());
        assert!(!first.leadership().is_held());
        assert!(first.try_acquire().await);
        assert!(first.leadership().is_held());
        assert!(!second.try_acquire().await);
        first.renew().await;
        assert!(!second.try_acquire().await);
        first.release().await;
        assert!(!first.leadership().is_held());
        assert!(second.try_acquire().await);
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_that_see_a_free_lease_one_gets_it() {
        let server = Server::default();
        let mut first = Candidate::over(server.clone(), "first".into());
        let mut second = Candidate::over(server.clone(), "second".into());
        let free = Lease::default();
        assert!(first.take(free.clone(), Instant::now()).await);
        assert!(!second.take(free, Instant::now()).await);
        assert!(!second.leadership().is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_was_replaced_stops() {
        let server = Server::default();
        let mut first = Candidate::over(server.clone(), "first".into());
        assert!(first.try_acquire().await);
        let mut second = Candidate::over(server.clone(), "second".into());
        let lease = server.read().await.unwrap().unwrap();
        assert!(second.take(lease, Instant::now()).await);
        first.renew().await;
        assert!(!first.leadership().is_held());
    }

    /// A leader whose last renewal arrived, while its answer was lost.
    async fn leader_without_an_answer(server: &Server) -> Candidate<Server> {
        let mut leader = Candidate::over(server.clone(), "first".into());
        assert!(leader.try_acquire().await);
        let lease = server.read().await.unwrap().unwrap();
        server.write(&lease).await.unwrap();
        leader
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_whose_answer_was_lost_does_not_end_leadership() {
        let server = Server::default();
        let mut first = leader_without_an_answer(&server).await;
        first.renew().await;
        assert!(first.leadership().is_held());
        first.renew().await;
        assert!(first.leadership().is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_released_even_after_a_renewal_whose_answer_was_lost() {
        let server = Server::default();
        let mut first = leader_without_an_answer(&server).await;
        first.release().await;
        let mut second = Candidate::over(server.clone(), "second".into());
        assert!(second.try_acquire().await);
        first.release().await;
        let lease = server.read().await.unwrap().unwrap();
        assert_eq!(holder(&lease).map(String::as_str), Some("second"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_ends_when_the_cluster_was_restored_from_a_backup() {
        let server = Server::default();
        let mut leader = Candidate::over(server.clone(), "first".into());
        assert!(leader.try_acquire().await);
        let backup = server.0.lock().unwrap().clone();
        leader.renew().await;
        leader.renew().await;
        assert!(leader.leadership().is_held());
        *server.0.lock().unwrap() = backup;
        leader.renew().await;
        assert!(!leader.leadership().is_held());
    }

    #[test]
    fn a_lease_is_free_by_our_own_clock_only() {
        let held = |holder: &str| Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                renew_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        };
        let me = "me".to_owned();
        assert!(
            !is_free(&held("other"), &me, Duration::ZERO),
            "however old its time looks"
        );
        assert!(is_free(&held("other"), &me, DURATION));
        assert!(is_free(&held("me"), &me, Duration::ZERO));
        assert!(is_free(&held(""), &me, Duration::ZERO));
        assert!(is_free(&Lease::default(), &me, Duration::ZERO));
    }

    #[test]
    fn writing_ends_before_another_may_start() {
        assert!(DEADLINE < DURATION);
        assert!(CALL_LIMIT * 2 <= DEADLINE);
    }
}
