//! Streams of YAML documents.

use serde_json::Value;

use crate::error::Error;

/// The documents of a stream as JSON, in their order, without the empty ones. `name` says in an
/// error where the text is from.
pub fn documents(name: &str, text: &str) -> Result<Vec<Value>, Error> {
    let documents: Result<Vec<Value>, _> = serde_saphyr::from_multiple(text);
    let mut documents = documents.map_err(|error| Error::Unexpected(format!("{name}: {error}")))?;
    documents.retain(|document| !document.is_null());
    Ok(documents)
}

/// The same documents as one stream again; JSON is YAML.
#[must_use]
pub fn stream(documents: &[Value]) -> String {
    let texts: Vec<_> = documents.iter().map(Value::to_string).collect();
    texts.join("\n---\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_documents_are_left_out() {
        let text = "---\n# nothing\n---\nkind: A\n---\nkind: B\n---\n";
        let documents = documents("test", text).unwrap();
        assert_eq!(
            stream(&documents),
            "{\"kind\":\"A\"}\n---\n{\"kind\":\"B\"}"
        );
    }

    #[test]
    fn an_error_names_its_file() {
        let error = documents("cr.yaml", "a: [").unwrap_err().to_string();
        assert!(error.starts_with("cr.yaml: "), "{error}");
    }
}
