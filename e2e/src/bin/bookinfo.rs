//! The services of the tutorials as one program; the arguments choose the service.

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use clap::Parser;
use e2e::{
    bookinfo::{Calls, Program, Seen, Task, Workload, everywhere},
    error::Error,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

fn main() -> ExitCode {
    match run(Program::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed, the message is lost.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(task: Task) -> Result<(), Error> {
    match task {
        Task::Get { url, headers } => get(&url, &headers).await,
        service => {
            tokio::select! {
                served = serve(service) => served,
                ended = terminated() => ended,
            }
        }
    }
}

async fn get(url: &str, headers: &[String]) -> Result<(), Error> {
    let headers = headers.iter().map(|header| {
        let (name, value) = header.split_once(':').unwrap_or((header, ""));
        (name.trim(), value.trim())
    });
    let headers: Vec<_> = headers.collect();
    let answer = Calls::default().get(url, &headers).await?;
    say(&format!("{}\n{}", answer.status, answer.body))
}

async fn serve(task: Task) -> Result<(), Error> {
    // In a container, the name of the pod is that of the machine.
    let pod = std::env::var("HOSTNAME").unwrap_or_else(|_| "nobody".into());
    let log = |seen: Seen| {
        // A closed standard output loses only the line.
        let _ = say(&format!("{} {}", seen.host, seen.path));
    };
    let workload = Workload {
        task,
        pod,
        calls: Calls::default(),
        log: Arc::new(log),
    };
    let address = everywhere();
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(Error::io(address.to_string()))?;
    let served = axum::serve(listener, workload.routes()).await;
    served.map_err(Error::io(address.to_string()))
}

/// The first process of a container is not ended by a signal that it does not handle.
async fn terminated() -> Result<(), Error> {
    let terminate = signal(SignalKind::terminate());
    terminate.map_err(Error::io("SIGTERM"))?.recv().await;
    Ok(())
}

fn say(line: &str) -> Result<(), Error> {
    writeln!(io::stdout(), "{line}").map_err(Error::io("standard output"))
}
