//! Reads the objects in a template's output.

use super::{Object, RenderError};
use crate::charts::yaml::Manifest;
use crate::charts::{Output, TemplateManifests};

/// The objects in the manifests of a template.
pub(super) fn objects(template: TemplateManifests) -> Result<Vec<Object>, RenderError> {
    let TemplateManifests { file, manifests } = template;
    let object = |body| {
        Object::of(body).map_err(|message| RenderError::Output {
            file: file.clone(),
            message,
        })
    };
    manifests.into_iter().map(object).collect()
}

/// The documents of an output that have a kind, as they are written. Lines that begin with `---` separate documents. A
/// template that decides to render nothing leaves a document without a kind.
pub(super) fn manifests(output: &Output) -> Result<Vec<Manifest>, RenderError> {
    let mut manifests = Vec::new();
    for (first_line, text) in documents(&output.text) {
        if text.trim().is_empty() {
            continue;
        }
        let body = Manifest::read(text).map_err(|error| {
            let line = first_line + error.line.unwrap_or(1) - 1;
            RenderError::Yaml {
                file: output.file.clone(),
                line,
                message: error.message,
            }
        })?;
        if body.field("kind").is_string() {
            manifests.push(body);
        }
    }
    Ok(manifests)
}

/// The documents of a text, each with the number of its first line, counted from 1.
pub(super) fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut first_line, mut position) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if line.starts_with("---") {
            documents.push((first_line, &text[start..position]));
            start = position + line.len();
            first_line = index + 2;
        }
        position += line.len();
    }
    documents.push((first_line, &text[start..]));
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Object>, RenderError> {
        let output = Output {
            file: "c/templates/t.yaml.hbs".to_owned(),
            text: text.to_owned(),
        };
        let manifests = manifests(&output)?;
        let file = output.file;
        objects(TemplateManifests { file, manifests })
    }

    #[test]
    fn documents_without_kind_are_dropped() {
        let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}";
        let text = format!("# Nothing.\n---\n{service}\n---\n\n---\na: 1\n");
        let objects = read(&text).unwrap();
        assert_eq!(objects.len(), 1);
        assert_eq!(objects[0].key.to_string(), "Service a");
    }

    #[test]
    fn broken_yaml_names_the_line_of_the_whole_output() {
        let error = read("---\nkind: B\na: [\n").unwrap_err().to_string();
        assert_eq!(error, "c/templates/t.yaml.hbs:3: unclosed bracket '['");
    }

    #[test]
    fn an_object_without_a_name_is_refused() {
        let error = read("apiVersion: v1\nkind: Service\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("metadata.name"), "{error}");
    }
}
