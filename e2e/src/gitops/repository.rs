//! A Git repository like that of a user of `samples/gitops`, served over HTTP by Git itself.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, Response, StatusCode, Uri},
};
use tokio::task::spawn_blocking;

use crate::{
    error::Error,
    host::{
        server::Server,
        workspace::{create_dir, entries, read, root, write},
    },
    operator,
};

/// Where the samples have their repository.
const SAMPLE_URL: &str = "https://git.example.com/platform/mesh.git";

/// The branch that the samples name.
const BRANCH: &str = "main";

/// The samples with the manifests of the operator beside them, under Git.
#[derive(Debug)]
pub struct Repository {
    dir: PathBuf,
    server: Server,
}

impl Repository {
    /// Makes the repository in a new directory, as `samples/gitops/README.md` says, and serves it.
    pub async fn start(dir: &Path) -> Result<Self, Error> {
        copy(&root().join("samples/gitops"), dir)?;
        let manifests = dir.join("operator").display().to_string();
        operator::manifests_with(&["--kustomize", &manifests])?;
        git(dir, &["init", "--quiet", "--initial-branch", BRANCH])?;
        let routes = Router::new().fallback(answer).with_state(Arc::from(dir));
        let server = Server::start("Git over HTTP", routes).await?;
        Ok(Self {
            dir: dir.into(),
            server,
        })
    }

    /// A file of it that names the repository, by its path from the top; with the address where this one is cloned from.
    pub fn with_url(&self, file: &str) -> Result<String, Error> {
        let text = read(&self.dir.join(file))?;
        let url = format!("http://{}/.git", self.server.address());
        Ok(text.replace(SAMPLE_URL, &url))
    }

    /// Replaces a text that a file has, wherever the file has it.
    pub fn replace(&self, file: &str, from: &str, to: &str) -> Result<(), Error> {
        let text = read(&self.dir.join(file))?;
        if !text.contains(from) {
            return Err(Error::Unexpected(format!("{file} has no {from:?}")));
        }
        write(&self.dir.join(file), text.replace(from, to))
    }

    /// Commits everything that was changed; gives the revision.
    pub fn commit(&self, message: &str) -> Result<String, Error> {
        git(&self.dir, &["add", "--all"])?;
        git(&self.dir, &["commit", "--quiet", "--message", message])?;
        Ok(git(&self.dir, &["rev-parse", "HEAD"])?.trim().to_owned())
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    create_dir(to)?;
    for path in entries(from)? {
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target).map_err(Error::io(path.display().to_string()))?;
        }
    }
    Ok(())
}

/// Git with nothing of the configuration of whoever runs this.
fn command(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(dir)
        .env("HOME", dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "platform team")))
        .envs(
            ["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "platform@example.com")),
        );
    command
}

fn git(dir: &Path, arguments: &[&str]) -> Result<String, Error> {
    let output = command(dir).args(arguments).output();
    let output = output.map_err(Error::io("git"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Command {
        command: format!("git {}", arguments.join(" ")),
        message: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Hands a request to `git http-backend`, which speaks CGI.
async fn answer(
    State(dir): State<Arc<Path>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let run = spawn_blocking(move || backend(&dir, &method, &uri, &headers, body.to_vec()));
    let answer = match run.await {
        Ok(Ok(output)) => response(&output),
        _ => None,
    };
    answer.unwrap_or_else(|| {
        let mut failed = Response::new(Body::empty());
        *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        failed
    })
}

fn backend(
    dir: &Path,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Vec<u8>,
) -> Result<Vec<u8>, Error> {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let mut child = command(dir)
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", dir)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Error::io("git http-backend"))?;
    let stdin = child.stdin.take();
    // It may answer before it has read everything.
    let writer = thread::spawn(move || stdin.map(|mut to| to.write_all(&body)));
    let output = child.wait_with_output();
    let _ = writer.join();
    Ok(output.map_err(Error::io("git http-backend"))?.stdout)
}

/// The answer that a CGI program wrote.
fn response(output: &[u8]) -> Option<Response<Body>> {
    let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&output[..end]).ok()?;
    let mut response = Response::builder();
    for line in head.split("\r\n") {
        let (name, value) = line.split_once(": ")?;
        response = if name == "Status" {
            response.status(value.split(' ').next()?)
        } else {
            response.header(name, value)
        };
    }
    response.body(Body::from(output[end + 4..].to_vec())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_cgi_programs_are_read() {
        let answer = response(b"Content-Type: text/plain\r\n\r\nhello\r\n\r\n").unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/plain");
        let refusal = response(b"Status: 404 Not Found\r\nExpires: 0\r\n\r\n").unwrap();
        assert_eq!(refusal.status(), StatusCode::NOT_FOUND);
        assert!(response(b"nothing").is_none());
    }
}
