//! The CA of webhooks that nobody has given one yet.
//!
//! istiod writes its CA into the webhooks that lead to it, a moment after they are there. Until then the API server
//! refuses the pods that it would send to them. On a running mesh that moment can be saved: the injector of the same CR
//! leads to the same istiod and has the CA, so what is new starts with a copy, as `istioctl tag set` has it. A copy is
//! ours until istiod writes another one.

use serde_json::Value;

use crate::cluster::{CoOwnedFields, Injector, Live, WEBHOOKS, belongs_to_tag};
use crate::render::{ObjectKey, Rendered};

/// The live injector of the CR's own revision, if istiod (or another CA injector) has written its CA.
pub(super) fn injector<'a>(rendered: &'a Rendered, live: &Live) -> Option<&'a ObjectKey> {
    let components = rendered.components.iter();
    let mut objects = components.flat_map(|component| &component.objects);
    let injector = objects.find(|object| {
        let has_ca = |key| {
            live.get(key)
                .is_some_and(|live| has_ca(&live.co_owned.others))
        };
        Injector::is_injector(&object.key) && !belongs_to_tag(&object.body) && has_ca(&object.key)
    });
    injector.map(|object| &object.key)
}

/// The live object that `key` takes its CA from when it is sent: the CR's injector, unless others maintain the CA of
/// `key`. A CA that only we hold is sent again with every apply, because an apply without it would remove it.
pub(super) fn source(
    key: &ObjectKey,
    co_owned: &CoOwnedFields,
    injector: Option<&ObjectKey>,
) -> Option<ObjectKey> {
    let lacks_ca = WEBHOOKS.contains(&key.kind.as_str()) && !has_ca(&co_owned.others);
    injector.filter(|_| lacks_ca).cloned()
}

/// Whether the CA of a webhook is among these co-owned fields.
fn has_ca(fields: &[String]) -> bool {
    fields.iter().any(|field| field.ends_with(".caBundle"))
}

/// Gives the webhooks of `body` that name no CA the one that the webhooks of `source` have.
pub fn copy(source: &Value, body: &mut Value) {
    let sources = source["webhooks"].as_array().into_iter().flatten();
    let mut bundles = sources.map(|webhook| &webhook["clientConfig"]["caBundle"]);
    let Some(bundle) = bundles.find(|bundle| bundle.is_string()) else {
        return;
    };
    let webhooks = body.get_mut("webhooks").and_then(Value::as_array_mut);
    for webhook in webhooks.into_iter().flatten() {
        let given = &mut webhook["clientConfig"]["caBundle"];
        if given.is_null() {
            *given = bundle.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn webhooks(clients: &[Value]) -> Value {
        let webhooks = clients.iter().map(|client| json!({"clientConfig": client}));
        json!({"webhooks": webhooks.collect::<Vec<_>>()})
    }

    #[test]
    fn webhooks_without_a_ca_get_the_one_of_the_source() {
        let source = webhooks(&[json!({"url": "u"}), json!({"caBundle": "Q0E="})]);
        let mut body = webhooks(&[json!({"url": "v"}), json!({"caBundle": "T3du"})]);
        copy(&source, &mut body);
        let clients = [
            json!({"url": "v", "caBundle": "Q0E="}),
            json!({"caBundle": "T3du"}),
        ];
        assert_eq!(body, webhooks(&clients));
    }

    #[test]
    fn a_source_without_a_ca_changes_nothing() {
        let mut body = webhooks(&[json!({"url": "v"})]);
        for source in [webhooks(&[json!({"url": "u"})]), json!({})] {
            copy(&source, &mut body);
            assert_eq!(body, webhooks(&[json!({"url": "v"})]));
        }
    }
}
