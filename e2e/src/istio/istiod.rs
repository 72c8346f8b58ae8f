//! The real istiod, run as a process beside the API server.
//!
//! It takes the place of the simulated pods of an istiod Deployment: the same arguments and
//! environment, the Deployment's service account, and the configuration in the cluster. Calls of the
//! API server to its webhooks reach it through the Service, as in a real cluster.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, WebhookClientConfig},
        apps::v1::Deployment,
        core::v1::Pod,
    },
};
use kube::{
    Api, Client, Config,
    api::{ListParams, ResourceExt},
};
use pem::Pem;
use serde_json::{Value, json};

use crate::{
    control_plane::{
        ControlPlane, client,
        container_config::ContainerConfig,
        egress_proxy::{Route, Target},
    },
    error::Error,
    host::{
        go_programs::Bundle,
        ports, probe,
        process::{Process, Program},
        workspace::create_dir,
    },
    istio::{proxy::Discovery, release::Release},
    wait::{SOON, wait_until},
};

/// A running istiod; ends when dropped.
#[derive(Debug)]
pub struct Istiod {
    process: Process,
    namespace: String,
    service: String,
    ports: Ports,
    admin_kubeconfig: PathBuf,
}

/// Where it listens on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
struct Ports {
    http: u16,
    webhook: u16,
    plain_discovery: u16,
    discovery: u16,
    monitoring: u16,
    introspection: u16,
}

/// What an istiod stands for.
struct StandIn<'a> {
    /// Its name for messages and files.
    name: &'a str,
    service: &'a str,
    /// The pods that it answers for.
    pods: Target,
}

/// The container of it in its pods.
pub(crate) const CONTAINER: &str = "discovery";

/// The port of its pods that the webhooks' Service leads to.
const WEBHOOK_PORT: u16 = 15017;

/// How long it may take to end; that is what kubelets give it.
const GRACE: Duration = Duration::from_secs(30);

impl Istiod {
    /// Starts istiod in place of the Deployment `deployment` (`istiod`, or `istiod-<revision>`) and
    /// waits until it calls itself ready. Builds it if it is missing.
    pub async fn start(
        plane: &ControlPlane,
        namespace: &str,
        deployment: &str,
    ) -> Result<Self, Error> {
        Self::start_with(plane, namespace, deployment, &[]).await
    }

    /// The same with variables instead of those of the Deployment.
    pub async fn start_with(
        plane: &ControlPlane,
        namespace: &str,
        deployment: &str,
        env: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let deployments: Api<Deployment> = Api::namespaced(plane.client().await?, namespace);
        let container =
            ContainerConfig::of(&deployments.get(deployment).await?, CONTAINER, deployment)?;
        // Others change with the version, and this process stands for the pods of every version.
        let mut labels = container.pod_labels.clone();
        labels.retain(|key, _| ["app", "istio.io/rev"].contains(&key.as_str()));
        let stand_in = StandIn {
            name: deployment,
            service: deployment,
            pods: Target::Pods {
                namespace: namespace.into(),
                labels,
            },
        };
        Self::launch(plane, &Bundle::Istio.dir()?, stand_in, container, env).await
    }

    /// Starts istiod in place of one pod, whose address is `ip`, with programs of this release.
    pub(crate) async fn start_for_pod(
        plane: &ControlPlane,
        release: Release,
        pod: &Pod,
        ip: IpAddr,
        env: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let container = ContainerConfig::of_pod(pod, CONTAINER)?;
        let revision = pod.labels().get("istio.io/rev").map(String::as_str);
        let service = match revision {
            None | Some("default") => "istiod".into(),
            Some(revision) => format!("istiod-{revision}"),
        };
        let stand_in = StandIn {
            name: &pod.name_any(),
            service: &service,
            pods: Target::Address(ip),
        };
        Self::launch(plane, &release.programs()?, stand_in, container, env).await
    }

    async fn launch(
        plane: &ControlPlane,
        programs: &Path,
        stand_in: StandIn<'_>,
        container: ContainerConfig,
        env: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let ContainerConfig {
            namespace,
            service_account,
            mut args,
            env: mut variables,
            ..
        } = container;
        let kubeconfig = plane.kubeconfig_of(&namespace, &service_account).await?;
        let ports = Ports::free()?;
        args.push(format!("--kubeconfig={}", kubeconfig.display()));
        args.extend(ports.flags());
        // The last value of a variable counts.
        let own = env.iter();
        variables.extend(own.map(|(name, value)| ((*name).into(), (*value).into())));
        // Its own empty directory: it prefers files in its working directory to the cluster's.
        let dir = plane.dir().join(stand_in.name);
        create_dir(&dir)?;
        plane.route(Route {
            to: stand_in.pods,
            port: WEBHOOK_PORT,
            local_port: ports.webhook,
        });
        let mut process = Process::start(Program {
            name: stand_in.name.into(),
            path: programs.join("pilot-discovery"),
            args,
            env: variables,
            dir,
            log: plane.dir().join(format!("{}.log", stand_in.name)),
        })?;
        wait_until_ready(&mut process, ports.http).await?;
        Ok(Self {
            process,
            namespace,
            service: stand_in.service.into(),
            ports,
            admin_kubeconfig: plane.kubeconfig(),
        })
    }

    /// Lets the API server of another cluster reach the webhooks at this address, which is none of its pods'.
    pub fn serve_at(&self, address: IpAddr, plane: &ControlPlane) {
        plane.route(Route {
            to: Target::Address(address),
            port: WEBHOOK_PORT,
            local_port: self.ports.webhook,
        });
    }

    /// Where proxies get their configuration and their certificates.
    #[must_use]
    pub fn discovery(&self) -> Discovery {
        Discovery {
            address: (Ipv4Addr::LOCALHOST, self.ports.discovery).into(),
            server_name: self.server_name(),
        }
    }

    /// Port on 127.0.0.1 of its metrics.
    #[must_use]
    pub fn monitoring_port(&self) -> u16 {
        self.ports.monitoring
    }

    /// The name that its certificate has.
    #[must_use]
    pub fn server_name(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// Ends it as a kubelet does.
    pub fn stop(mut self) -> Result<(), Error> {
        self.process.stop(GRACE).map(drop)
    }

    /// The process, to measure it, kill it, or read its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Sends a pod to the injection webhook, exactly as the API server would, and returns it with
    /// the webhook's patch applied.
    ///
    /// The API server fills in defaults before it asks; a pod that should look like that comes from
    /// a create with `dryRun: All`. A refusal is [`Error::Unexpected`] with istiod's message.
    pub async fn inject(&self, namespace: &str, pod: &Value) -> Result<Value, Error> {
        let webhook = self.injection_webhook().await?;
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "00000000-0000-4000-8000-000000000000",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "namespace": namespace,
                "operation": "CREATE",
                "userInfo": {},
                "object": pod,
            },
        });
        let path = webhook
            .service
            .and_then(|service| service.path)
            .unwrap_or_default();
        let request = http::Request::post(path)
            .header("Content-Type", "application/json")
            .body(review.to_string().into_bytes())
            .map_err(|error| Error::Unexpected(error.to_string()))?;
        let client = self.webhook_client(&webhook.ca_bundle.unwrap_or_default())?;
        patched(pod, &client.request(request).await?)
    }

    /// Where the API server calls this istiod, once istiod has put its CA bundle there.
    async fn injection_webhook(&self) -> Result<WebhookClientConfig, Error> {
        let configurations: Api<MutatingWebhookConfiguration> =
            Api::all(client::from_kubeconfig(&self.admin_kubeconfig).await?);
        wait_until(
            "istiod's CA bundle in its injection webhook",
            SOON,
            || async {
                let all = configurations.list(&ListParams::default()).await?;
                let webhooks = all
                    .items
                    .into_iter()
                    .flat_map(|item| item.webhooks.unwrap_or_default());
                webhooks
                    .map(|webhook| webhook.client_config)
                    .find(|config| self.is_called_by(config))
                    .ok_or_else(|| Error::Unexpected("no webhook has one".into()))
            },
        )
        .await
    }

    fn is_called_by(&self, config: &WebhookClientConfig) -> bool {
        let trusted = config
            .ca_bundle
            .as_ref()
            .is_some_and(|bundle| !bundle.0.is_empty());
        let service = config.service.as_ref();
        trusted
            && service.is_some_and(|service| {
                service.name == self.service && service.namespace == self.namespace
            })
    }

    /// A client that trusts what the API server would trust.
    fn webhook_client(&self, ca_bundle: &ByteString) -> Result<Client, Error> {
        let url = format!("https://127.0.0.1:{}", self.ports.webhook);
        let url = url
            .parse::<http::Uri>()
            .map_err(|error| Error::Unexpected(error.to_string()))?;
        let mut config = Config::new(url);
        config.tls_server_name = Some(self.server_name());
        config.root_cert = Some(certificates(&ca_bundle.0)?);
        Ok(Client::try_from(config)?)
    }
}

impl Ports {
    fn free() -> Result<Self, Error> {
        Ok(Self {
            http: ports::free()?,
            webhook: ports::free()?,
            plain_discovery: ports::free()?,
            discovery: ports::free()?,
            monitoring: ports::free()?,
            introspection: ports::free()?,
        })
    }

    /// Flags that keep all of istiod's listeners on loopback, in place of the Deployment's.
    fn flags(&self) -> [String; 7] {
        [
            format!("--httpAddr=127.0.0.1:{}", self.http),
            format!("--httpsAddr=127.0.0.1:{}", self.webhook),
            format!("--grpcAddr=127.0.0.1:{}", self.plain_discovery),
            format!("--secureGRPCAddr=127.0.0.1:{}", self.discovery),
            format!("--monitoringAddr=127.0.0.1:{}", self.monitoring),
            "--ctrlz_address=127.0.0.1".into(),
            format!("--ctrlz_port={}", self.introspection),
        ]
    }
}

async fn wait_until_ready(process: &mut Process, port: u16) -> Result<(), Error> {
    let ready = wait_until("istiod to be ready", SOON, || {
        let alive = process.check();
        async move {
            match alive {
                Err(died) => Ok(Err(died)),
                Ok(()) => probe::get(port, "/ready").map(|_| Ok(())),
            }
        }
    });
    ready.await?
}

/// The pod after the patch in the answer to a review; the pod itself if there is none.
fn patched(pod: &Value, answer: &Value) -> Result<Value, Error> {
    let response = &answer["response"];
    if response["allowed"] != true {
        let message = response["status"]["message"]
            .as_str()
            .unwrap_or("no reason given");
        return Err(Error::Unexpected(format!(
            "istiod refused the pod: {message}"
        )));
    }
    let mut pod = pod.clone();
    if !response["patch"].is_null() {
        let unexpected = |error: &dyn std::error::Error| Error::Unexpected(error.to_string());
        let patch: ByteString = serde_json::from_value(response["patch"].clone())
            .map_err(|error| unexpected(&error))?;
        let patch: json_patch::Patch =
            serde_json::from_slice(&patch.0).map_err(|error| unexpected(&error))?;
        json_patch::patch(&mut pod, &patch).map_err(|error| unexpected(&error))?;
    }
    Ok(pod)
}

/// The certificates in a PEM text, as DER.
fn certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let blocks = pem::parse_many(text)
        .map_err(|error| Error::Unexpected(format!("CA bundle of a webhook: {error}")))?;
    let is_certificate = |block: &Pem| block.tag() == "CERTIFICATE";
    let certificates = blocks.into_iter().filter(is_certificate);
    Ok(certificates.map(Pem::into_contents).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patch_of_an_answer_is_applied() {
        let pod = json!({"spec": {"containers": []}});
        // [{"op":"add","path":"/spec/containers/-","value":{"name":"p"}}]
        let patch = "W3sib3AiOiJhZGQiLCJwYXRoIjoiL3NwZWMvY29udGFpbmVycy8tIiwidmFsdWUiOnsibmFtZSI6\
                     InAifX1d";
        let answer = json!({"response": {"allowed": true, "patch": patch}});
        let expected = json!({"spec": {"containers": [{"name": "p"}]}});
        assert_eq!(patched(&pod, &answer).unwrap(), expected);
        assert_eq!(
            patched(&pod, &json!({"response": {"allowed": true}})).unwrap(),
            pod
        );
    }

    #[test]
    fn a_refusal_says_why() {
        let answer = json!({"response": {"allowed": false, "status": {"message": "bad label"}}});
        let error = patched(&json!({}), &answer).unwrap_err().to_string();
        assert_eq!(error, "istiod refused the pod: bad label");
    }
}
