//! Who may talk to an API server: tokens, the key that signs service account tokens, kubeconfigs.

use std::{fs::File, io::Read, path::Path};

use pem::Pem;
use serde_json::{Value, json};

use crate::{
    error::Error,
    host::workspace::{read, write},
};

/// DER of a P-256 private key before and after its 32 secret bytes (RFC 5915, without the public
/// half, which the reader computes).
const KEY_HEAD: [u8; 7] = [0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20];
const KEY_TAIL: [u8; 12] = [
    0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
];

/// A secret that nobody can guess.
pub(crate) fn token() -> Result<String, Error> {
    Ok(format!("{:032x}", u128::from_ne_bytes(random()?)))
}

/// A new private key as PEM. Every positive number below the order of the curve is a private key, so random bytes whose
/// first bit is zero are enough.
pub(crate) fn signing_key() -> Result<String, Error> {
    let mut secret = random::<32>()?;
    secret[0] &= 0x7f;
    let der = [&KEY_HEAD[..], &secret, &KEY_TAIL].concat();
    Ok(pem::encode(&Pem::new("EC PRIVATE KEY", der)))
}

/// A kubeconfig (JSON, which is YAML) for one server and one token.
pub(crate) fn kubeconfig(port: u16, ca: &Path, token: &str, namespace: &str) -> String {
    let cluster = json!({
        "server": format!("https://127.0.0.1:{port}"),
        "certificate-authority": ca,
    });
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": cluster}],
        "users": [{"name": "local", "user": {"token": token}}],
        "contexts": [{
            "name": "local",
            "context": {"cluster": "local", "user": "local", "namespace": namespace},
        }],
        "current-context": "local",
    })
    .to_string()
}

/// Writes a copy of a kubeconfig to `path` that leads to the same cluster by way of another address.
pub(crate) fn by_way_of(server: &str, original: &Path, path: &Path) -> Result<(), Error> {
    let mut config: Value = serde_json::from_str(&read(original)?)
        .map_err(|error| Error::Unexpected(format!("{}: {error}", original.display())))?;
    config["clusters"][0]["cluster"] = json!({"server": server});
    write(path, config.to_string())
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    let source = "/dev/urandom";
    let mut file = File::open(source).map_err(Error::io(source))?;
    file.read_exact(&mut bytes).map_err(Error::io(source))?;
    Ok(bytes)
}
