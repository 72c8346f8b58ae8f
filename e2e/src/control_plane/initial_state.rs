//! What a control plane is like after its start, so that one test after the other may use it.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use super::{
    ControlPlane,
    etcd::{Backup, Etcd},
};
use crate::{
    error::Error,
    host::workspace::entries,
    wait::{SOON, wait_until},
};

/// How many control planes at most wait for their next use. Each costs CPU time and memory while it waits.
const MOST_IDLE: usize = 3;

/// Control planes that nobody uses now.
static IDLE: Mutex<Vec<ControlPlane>> = Mutex::new(Vec::new());

/// What is there after the start: objects, files of its directory, API groups.
#[derive(Debug)]
pub(super) struct InitialState {
    store: Backup,
    files: BTreeSet<PathBuf>,
    groups: BTreeSet<String>,
}

impl InitialState {
    pub(super) async fn of(plane: &ControlPlane) -> Result<Self, Error> {
        Ok(Self {
            store: store(plane).settled_backup().await?,
            groups: groups(plane).await?,
            files: files(plane)?,
        })
    }

    /// Makes a control plane again what it was.
    pub(super) async fn restore(&self, plane: &ControlPlane) -> Result<(), Error> {
        plane.egress.remove_routes();
        store(plane).restore(&self.store).await?;
        wait_until("the API groups to be as they were", SOON, || async {
            let served = groups(plane).await?;
            if served == self.groups {
                return Ok(());
            }
            Err(Error::Unexpected(format!("{served:?}")))
        })
        .await?;
        for path in files(plane)?.difference(&self.files) {
            let removed = if path.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            };
            removed.map_err(Error::io(path.display().to_string()))?;
        }
        Ok(())
    }
}

/// A control plane that nobody uses, as its last user left it.
pub(super) fn take_idle() -> Option<ControlPlane> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

/// Keeps a control plane for its next user, unless enough of them wait.
pub(super) fn keep_idle(mut plane: ControlPlane) {
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if idle.len() < MOST_IDLE {
        idle.push(plane);
    } else {
        drop(idle);
        plane.initial = None;
    }
}

fn store(plane: &ControlPlane) -> Etcd {
    Etcd::at(plane.site.etcd_port())
}

/// The names of the API groups that it serves.
async fn groups(plane: &ControlPlane) -> Result<BTreeSet<String>, Error> {
    let list = plane.client().await?.list_api_groups().await?;
    Ok(list.groups.into_iter().map(|group| group.name).collect())
}

fn files(plane: &ControlPlane) -> Result<BTreeSet<PathBuf>, Error> {
    Ok(entries(plane.dir())?.into_iter().collect())
}
