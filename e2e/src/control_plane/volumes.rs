//! What a kubelet mounts into a container, for a process that takes its place: laid under a directory instead of the root.

use std::{collections::BTreeMap, fmt::Debug, path::Path};

use k8s_openapi::{
    ByteString,
    api::{
        authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
        core::v1::{
            ConfigMap, Container, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, ServiceAccount,
            ServiceAccountTokenProjection, Volume, VolumeProjection,
        },
    },
};
use kube::{
    Api, Client,
    api::{PostParams, ResourceExt},
};
use serde::de::DeserializeOwned;

use crate::{
    error::Error,
    host::workspace::{create_dir, write},
    wait::{SOON, wait_until},
};

/// Longer than anything runs, in seconds.
const TOKEN_LIFETIME: i64 = 30 * 24 * 3600;

/// A pod whose volumes are laid somewhere.
struct Mounts<'a> {
    client: &'a Client,
    pod: &'a Pod,
    namespace: String,
}

/// Lays all that is mounted into a container of a pod under `root`. What is not there yet is waited for, as a kubelet does.
pub(crate) async fn mount(
    client: &Client,
    pod: &Pod,
    container: &Container,
    root: &Path,
) -> Result<(), Error> {
    let mounts = Mounts {
        client,
        pod,
        namespace: pod.namespace().unwrap_or_default(),
    };
    let spec = pod.spec.iter();
    let volumes: Vec<_> = spec
        .flat_map(|spec| spec.volumes.iter().flatten())
        .collect();
    for mounted in container.volume_mounts.iter().flatten() {
        let at = root.join(mounted.mount_path.trim_start_matches('/'));
        create_dir(&at)?;
        if let Some(volume) = volumes.iter().find(|volume| volume.name == mounted.name) {
            mounts.lay(volume, &at).await?;
        }
    }
    Ok(())
}

impl Mounts<'_> {
    /// The volume's files; of an empty directory and of a directory of the node there are none.
    async fn lay(&self, volume: &Volume, at: &Path) -> Result<(), Error> {
        if let Some(map) = &volume.config_map {
            self.lay_config_map(&map.name, map.optional, map.items.as_deref(), at)
                .await?;
        }
        if let Some(secret) = &volume.secret {
            let name = secret.secret_name.as_deref().unwrap_or_default();
            self.lay_secret(name, secret.optional, secret.items.as_deref(), at)
                .await?;
        }
        if let Some(downward) = &volume.downward_api {
            self.lay_facts(downward.items.as_deref(), at)?;
        }
        let projected = volume.projected.iter();
        for source in projected.flat_map(|projected| projected.sources.iter().flatten()) {
            self.lay_projection(source, at).await?;
        }
        Ok(())
    }

    async fn lay_projection(&self, source: &VolumeProjection, at: &Path) -> Result<(), Error> {
        if let Some(token) = &source.service_account_token {
            self.lay_token(token, at).await?;
        }
        if let Some(map) = &source.config_map {
            self.lay_config_map(&map.name, map.optional, map.items.as_deref(), at)
                .await?;
        }
        if let Some(downward) = &source.downward_api {
            self.lay_facts(downward.items.as_deref(), at)?;
        }
        Ok(())
    }

    async fn lay_config_map(
        &self,
        name: &str,
        optional: Option<bool>,
        items: Option<&[KeyToPath]>,
        at: &Path,
    ) -> Result<(), Error> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let map = found(&maps, name, optional).await?;
        let data = map.and_then(|map| map.data).unwrap_or_default();
        write_files(
            data.iter().map(|(key, text)| (key, text.as_bytes())),
            items,
            at,
        )
    }

    async fn lay_secret(
        &self,
        name: &str,
        optional: Option<bool>,
        items: Option<&[KeyToPath]>,
        at: &Path,
    ) -> Result<(), Error> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = found(&secrets, name, optional).await?;
        let data: BTreeMap<String, ByteString> =
            secret.and_then(|secret| secret.data).unwrap_or_default();
        write_files(data.iter().map(|(key, bytes)| (key, &*bytes.0)), items, at)
    }

    /// Labels and annotations of the pod, in the form that kubelets write.
    fn lay_facts(&self, items: Option<&[DownwardAPIVolumeFile]>, at: &Path) -> Result<(), Error> {
        for item in items.into_iter().flatten() {
            let field = item
                .field_ref
                .as_ref()
                .map(|field| field.field_path.as_str());
            let map = match field {
                Some("metadata.labels") => self.pod.labels(),
                Some("metadata.annotations") => self.pod.annotations(),
                // Resources, which a process does not have.
                _ => continue,
            };
            let line = |(key, value): (&String, &String)| format!("{key}={value:?}\n");
            write(
                &at.join(&item.path),
                map.iter().map(line).collect::<String>(),
            )?;
        }
        Ok(())
    }

    /// A token of the pod's service account, which is good as long as the pod exists.
    async fn lay_token(
        &self,
        projection: &ServiceAccountTokenProjection,
        at: &Path,
    ) -> Result<(), Error> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace);
        let spec = self.pod.spec.as_ref();
        let account = spec.and_then(|spec| spec.service_account_name.as_deref());
        let bound = BoundObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: Some(self.pod.name_any()),
            uid: self.pod.uid(),
        };
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: projection.audience.clone().map(|audience| vec![audience]),
                bound_object_ref: Some(bound),
                expiration_seconds: Some(TOKEN_LIFETIME),
            }),
            ..TokenRequest::default()
        };
        let params = PostParams::default();
        let account = account.unwrap_or("default");
        let answer = accounts
            .create_token_request(account, &params, &request)
            .await?;
        let token = answer.status.and_then(|status| status.token);
        write(&at.join(&projection.path), token.unwrap_or_default())
    }
}

/// An object that is mounted; one that is not optional is waited for.
async fn found<K>(api: &Api<K>, name: &str, optional: Option<bool>) -> Result<Option<K>, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    if optional == Some(true) {
        return Ok(api.get_opt(name).await?);
    }
    let what = format!("{name} to be there");
    wait_until(&what, SOON, || api.get(name)).await.map(Some)
}

/// The keys as files, or only those that are asked for, under the names that are asked for.
fn write_files<'a>(
    data: impl Iterator<Item = (&'a String, &'a [u8])>,
    items: Option<&[KeyToPath]>,
    at: &Path,
) -> Result<(), Error> {
    for (key, content) in data {
        let name = match items {
            None => Some(key),
            Some(items) => items
                .iter()
                .find(|item| item.key == *key)
                .map(|item| &item.path),
        };
        if let Some(name) = name {
            write(&at.join(name), content)?;
        }
    }
    Ok(())
}
