//! The real Prometheus, with the arguments, the configuration and the rights that the addon has in the cluster.

use std::net::{Ipv4Addr, SocketAddr};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::Api;
use serde_json::{Value, json};

use crate::{
    addons::pod_proxy::PodProxy,
    control_plane::{ControlPlane, container_config::ContainerConfig},
    error::Error,
    host::{
        go_programs::Bundle,
        http, ports,
        process::{Process, Program},
        workspace::{create_dir, write},
    },
    yaml,
};

/// The name of all that belongs to the addon.
const NAME: &str = "prometheus";
/// The file that names all others.
const CONFIGURATION: &str = "prometheus.yml";

/// A running Prometheus; ends when dropped.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    address: SocketAddr,
}

impl Prometheus {
    /// Starts Prometheus in place of the addon's Deployment in `namespace` and waits until it is ready; it reaches pods by
    /// way of `pods`, and scrapes and judges every `interval` instead of the addon's. Builds it if it is missing.
    pub async fn start(
        plane: &ControlPlane,
        pods: &PodProxy,
        namespace: &str,
        interval: &str,
    ) -> Result<Self, Error> {
        let client = plane.client().await?;
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let container = ContainerConfig::of(&deployments.get(NAME).await?, NAME, NAME)?;
        let maps: Api<ConfigMap> = Api::namespaced(client, namespace);
        let map = maps.get(NAME).await?.data.unwrap_or_default();
        let text = map.get(CONFIGURATION).cloned().unwrap_or_default();
        let kubeconfig = plane
            .kubeconfig_of(namespace, &container.service_account)
            .await?;
        let dir = plane.dir().join(NAME);
        create_dir(&dir)?;
        let here = Here {
            kubeconfig: kubeconfig.display().to_string(),
            proxy: &pods.url(),
            interval,
        };
        for (name, rules) in map.iter().filter(|(name, _)| *name != CONFIGURATION) {
            write(&dir.join(name), rules)?;
        }
        let configuration = dir.join(CONFIGURATION);
        write(&configuration, here.configuration(&text)?.to_string())?;
        let port = ports::free()?;
        let at = |flag: &str| match flag {
            "--config.file" => Some(configuration.display().to_string()),
            "--storage.tsdb.path" => Some(dir.join("data").display().to_string()),
            _ => None,
        };
        let args = container.args.into_iter().map(|arg| {
            let (flag, _) = arg.split_once('=').unwrap_or((&arg, ""));
            at(flag).map_or_else(|| arg.clone(), |value| format!("{flag}={value}"))
        });
        let listen = format!("--web.listen-address=127.0.0.1:{port}");
        let mut process = Process::start(Program {
            name: NAME.into(),
            path: Bundle::Prometheus.dir()?.join(NAME),
            args: args.chain([listen]).collect(),
            env: container.env,
            dir,
            log: plane.dir().join("prometheus.log"),
        })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        http::wait_until_ok(&mut process, address, "/-/ready").await?;
        Ok(Self { process, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process, to read its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The series that a query gives now; a query that is refused is an error.
    pub async fn query(&self, query: &str) -> Result<Vec<Value>, Error> {
        let data = self.ask("query", &[("query", query)]).await?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// The values of a label of the series that a selector finds.
    pub async fn label_values(&self, selector: &str, label: &str) -> Result<Vec<String>, Error> {
        let path = format!("label/{label}/values");
        let data = self.ask(&path, &[("match[]", selector)]).await?;
        let values = data.as_array().into_iter().flatten();
        Ok(values
            .filter_map(|value| value.as_str().map(str::to_owned))
            .collect())
    }

    /// What it scrapes now.
    pub async fn targets(&self) -> Result<Vec<Value>, Error> {
        let data = self.ask("targets", &[("state", "active")]).await?;
        Ok(data["activeTargets"]
            .as_array()
            .cloned()
            .unwrap_or_default())
    }

    /// The rules that it judges by, each with its health and its state.
    pub async fn rules(&self) -> Result<Vec<Value>, Error> {
        let data = self.ask("rules", &[]).await?;
        let groups = data["groups"].as_array().into_iter().flatten();
        let rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
        Ok(rules.cloned().collect())
    }

    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, Error> {
        let mut encoded = form_urlencoded::Serializer::new(String::new());
        encoded.extend_pairs(parameters);
        let url = format!("http://{}/api/v1/{path}?{}", self.address, encoded.finish());
        let answer = http::get(self.address, &url).await?;
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        if body["status"] == "success" {
            Ok(body["data"].clone())
        } else {
            let why = &body["error"];
            Err(Error::Unexpected(format!(
                "Prometheus: {parameters:?}: {why}"
            )))
        }
    }
}

/// What is different on this machine from a pod.
struct Here<'a> {
    kubeconfig: String,
    proxy: &'a str,
    interval: &'a str,
}

impl Here<'_> {
    /// The configuration with the way to the API server and to pods in it.
    fn configuration(&self, text: &str) -> Result<Value, Error> {
        let mut documents = yaml::documents(CONFIGURATION, text)?;
        let mut configuration = documents.pop().unwrap_or_default();
        configuration["global"]["scrape_interval"] = self.interval.into();
        configuration["global"]["scrape_timeout"] = self.interval.into();
        configuration["global"]["evaluation_interval"] = self.interval.into();
        let jobs = configuration["scrape_configs"].as_array_mut();
        for job in jobs.into_iter().flatten() {
            job["proxy_url"] = self.proxy.into();
            if let Some(authorization) = job.get_mut("authorization") {
                // There is no kubelet that would ask for it.
                *authorization = json!({"credentials": "none"});
            }
            let discoveries = job["kubernetes_sd_configs"].as_array_mut();
            for discovery in discoveries.into_iter().flatten() {
                discovery["kubeconfig_file"] = self.kubeconfig.as_str().into();
            }
        }
        Ok(configuration)
    }
}
