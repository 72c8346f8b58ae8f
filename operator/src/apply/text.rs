//! Texts of the API server, made fit for logs, Events and statuses.

/// The longest text that is passed on, in characters.
const MAX_TEXT: usize = 512;

/// What the API server writes in front of a value that it quotes.
const MARKS: [&str; 7] = [
    "Invalid value: ",
    "Unsupported value: ",
    "Duplicate value: ",
    "Not found: ",
    "got ",
    "requested: ",
    "Value:",
];

/// The text without the values that it quotes, cut to 512 characters. A value may be a secret, or a whole object; names of
/// objects and paths of fields stay.
pub fn without_values(text: &str) -> String {
    let mut clean = String::new();
    let mut rest = text;
    while let Some((start, mark)) = first_mark(rest) {
        let after = start + mark.len();
        clean.push_str(&rest[..after]);
        clean.push('…');
        rest = &rest[after + value_length(&rest[after..])..];
    }
    clean.push_str(rest);
    match clean.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}

fn first_mark(text: &str) -> Option<(usize, &'static str)> {
    let found = MARKS.iter().filter_map(|mark| {
        let is_word = |(start, _): &(usize, &str)| !text[..*start].ends_with(char::is_alphanumeric);
        let (start, _) = text.match_indices(mark).find(is_word)?;
        Some((start, *mark))
    });
    found.min_by_key(|(start, _)| *start)
}

/// The length in bytes of the value at the start of `text`: a quoted text, something in brackets, or one word. A Go type
/// in front of brackets belongs to the value: `[]string{"a"}`, `map[string]interface {}{"a": 1}`.
fn value_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut is_escaped = false;
    for (index, c) in text.char_indices() {
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some(mark) if c == '\\' && mark == '"' => is_escaped = true,
            Some(mark) if c == mark => quote = None,
            Some(_) => continue,
            None => match c {
                '"' | '`' => quote = Some(c),
                '{' | '[' | '(' => depth += 1,
                '}' | ']' | ')' => depth = depth.saturating_sub(1),
                ' ' if text[..index].ends_with("interface") => {}
                ':' | ';' | ',' | ' ' if depth == 0 => return index,
                _ => {}
            },
        }
        if quote.is_none() && depth == 0 && matches!(c, '"' | '`' | '}' | ']' | ')') {
            let end = index + c.len_utf8();
            if !is_followed_by_more_of_the_value(&text[end..]) {
                return end;
            }
        }
    }
    text.len()
}

/// Whether what was read so far is only the Go type of the value.
fn is_followed_by_more_of_the_value(rest: &str) -> bool {
    let is_type = |c: char| c.is_alphanumeric() || matches!(c, '*' | '&' | '[' | '{' | '(');
    rest.starts_with(is_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_left_out_and_names_and_paths_stay() {
        for (text, expected) in [
            (
                r#"Service "x" is invalid: spec.ports[0].port: Invalid value: "pass\"word": must be an integer"#,
                r#"Service "x" is invalid: spec.ports[0].port: Invalid value: …: must be an integer"#,
            ),
            (
                r#"Deployment.apps "istiod" is invalid: spec.selector: Invalid value: {"matchLabels":{"a":"}"}}: field is immutable"#,
                r#"Deployment.apps "istiod" is invalid: spec.selector: Invalid value: …: field is immutable"#,
            ),
            (
                "spec.x: Unsupported value: \"a: b\": supported values: \"c\"; spec.y: Invalid value: 7: too small",
                "spec.x: Unsupported value: …: supported values: \"c\"; spec.y: Invalid value: …: too small",
            ),
            (
                ".spec.replicas: expected integer, got &value.valueUnstructured{Value:map[string]interface {}{\"a\":1}}",
                ".spec.replicas: expected integer, got …",
            ),
            (
                r#"spec.tolerations: Invalid value: []core.Toleration{core.Toleration{Key:"secret"}}: no"#,
                "spec.tolerations: Invalid value: …: no",
            ),
            (
                r#"spec.selector: Invalid value: map[string]interface {}{"a":"secret"}: field is immutable"#,
                "spec.selector: Invalid value: …: field is immutable",
            ),
            (
                "admission webhook \"w\" denied the request: you forgot something",
                "admission webhook \"w\" denied the request: you forgot something",
            ),
            ("Invalid value: `never closed", "Invalid value: …"),
            (
                r#"roles "istiod" is forbidden"#,
                r#"roles "istiod" is forbidden"#,
            ),
        ] {
            assert_eq!(without_values(text), expected);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let cut = without_values(&"ä".repeat(600));
        assert_eq!(cut.chars().count(), MAX_TEXT + 1);
        assert_eq!(without_values("short"), "short");
    }
}
