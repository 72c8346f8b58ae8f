//! Values that nobody writes down: they are made up when an object is created, and only its readers get to know them.

use serde_json::Value;

/// The annotation that names the keys of a Secret whose values are made up, separated by commas.
pub const GENERATED: &str = "install.istio.io/generated";

/// Letters and digits, without those that people take for one another. Their number divides 256, so all are equally likely.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Characters of a value: 160 bits, and the 32 characters that a key of AES-256 has.
const LENGTH: usize = 32;

/// Gives a random value to each key of a Secret that the annotation names.
pub(super) fn fill(secret: &mut Value) -> Result<(), getrandom::Error> {
    let keys = secret["metadata"]["annotations"][GENERATED].as_str();
    let keys: Vec<String> = keys
        .unwrap_or_default()
        .split(',')
        .filter(|key| !key.is_empty())
        .map(str::to_owned)
        .collect();
    for key in keys {
        secret["stringData"][key] = random_text()?.into();
    }
    Ok(())
}

fn random_text() -> Result<String, getrandom::Error> {
    let mut bytes = [0; LENGTH];
    getrandom::getrandom(&mut bytes)?;
    let letter = |byte: u8| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]);
    Ok(bytes.into_iter().map(letter).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_named_key_gets_a_value_of_its_own() {
        let mut secret = json!({
            "metadata": {"annotations": {GENERATED: "a,b"}},
            "stringData": {"user": "admin"},
        });
        fill(&mut secret).unwrap();
        let data = &secret["stringData"];
        assert_eq!(data["user"], "admin");
        let text = |key: &str| data[key].as_str().unwrap();
        assert_eq!((text("a").len(), text("b").len()), (LENGTH, LENGTH));
        assert_ne!(text("a"), text("b"));
    }

    #[test]
    fn a_secret_without_the_annotation_stays_as_it_is() {
        let mut secret = json!({"metadata": {"name": "x"}, "stringData": {"user": "admin"}});
        let data = secret["stringData"].clone();
        fill(&mut secret).unwrap();
        assert_eq!(secret["stringData"], data);
    }
}
