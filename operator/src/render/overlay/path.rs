//! Parses the paths of overlays and their elements.

/// Splits a path into its elements. As upstream does, it first cleans the text as if it were a file path. It then splits at
/// dots without a backslash, and splits `name[selector]` at its first bracket.
pub(super) fn elements(path: &str) -> Vec<String> {
    let cleaned = clean(path);
    let trimmed = cleaned.strip_prefix('.').unwrap_or(&cleaned);
    let trimmed = trimmed.strip_suffix('.').unwrap_or(trimmed);
    let mut elements = Vec::new();
    for piece in split_unescaped(trimmed, '.') {
        let piece = piece.replace("\\.", ".");
        match piece.find('[') {
            _ if piece.is_empty() => {}
            Some(bracket) if bracket > 0 => {
                let (name, selector) = piece.split_at(bracket);
                elements.extend([name.to_owned(), selector.to_owned()]);
            }
            _ => elements.push(piece),
        }
    }
    elements
}

/// Does what Go's `filepath.Clean` does: removes empty and `.` segments and the slash at the end, and resolves `..`.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').filter(|s| !s.is_empty() && *s != ".") {
        match (segment, kept.last()) {
            ("..", Some(last)) if *last != ".." => {
                kept.pop();
            }
            ("..", _) if rooted => {}
            _ => kept.push(segment),
        }
    }
    let joined = kept.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// The pieces between separators that no backslash precedes.
fn split_unescaped(text: &str, separator: char) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut before) = (0, None);
    for (index, c) in text.char_indices() {
        if c == separator && before != Some('\\') {
            pieces.push(&text[start..index]);
            start = index + c.len_utf8();
        }
        before = Some(c);
    }
    pieces.push(&text[start..]);
    pieces
}

fn inside_brackets(element: &str) -> Option<&str> {
    element.strip_prefix('[')?.strip_suffix(']')
}

/// The position that an index element selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListIndex {
    /// `[3]`.
    At(usize),
    /// `[-1]`.
    End,
}

/// Reads `[N]`, N being -1 or more.
pub(super) fn list_index(element: &str) -> Option<ListIndex> {
    let number: i64 = inside_brackets(element)?.parse().ok()?;
    match usize::try_from(number) {
        Ok(index) => Some(ListIndex::At(index)),
        Err(_) => (number == -1).then_some(ListIndex::End),
    }
}

/// Reads `[key:value]`. The key consists of letters, digits, `_` and `-`. Only one colon is without a backslash; the others
/// keep theirs.
pub(super) fn key_value(element: &str) -> Option<(&str, &str)> {
    let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match split_unescaped(inside_brackets(element)?, ':').as_slice() {
        [key, value] if !key.is_empty() && !value.is_empty() && key.chars().all(is_key) => {
            Some((key, value))
        }
        _ => None,
    }
}

/// The regular expression of `[text]` or `[:text]`, which selects in a list of scalars.
pub(super) fn scalar_pattern(element: &str) -> Option<&str> {
    let text = inside_brackets(element)?;
    let pattern = text
        .strip_prefix(':')
        .filter(|rest| !rest.is_empty())
        .unwrap_or(text);
    (!pattern.is_empty()).then_some(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_at_dots_and_brackets() {
        let cases: [(&str, &[&str]); 14] = [
            ("a.b.c", &["a", "b", "c"]),
            (".a.b.", &["a", "b"]),
            ("a..b", &["a", "b"]),
            ("a.[name:x].b", &["a", "[name:x]", "b"]),
            ("a[0].b", &["a", "[0]", "b"]),
            (r"a.b\.c/d", &["a", "b.c/d"]),
            (r"a.[k:v\.w]", &["a", "[k:v.w]"]),
            ("a.[k:v.w]", &["a", "[k:v", "w]"]),
            ("", &[]),
            (".", &[]),
            ("a//b/", &["a/b"]),
            ("a/../b", &["b"]),
            ("./a.b", &["a", "b"]),
            ("/a", &["/a"]),
        ];
        for (path, expected) in cases {
            assert_eq!(elements(path), expected, "{path}");
        }
    }

    #[test]
    fn elements_have_meanings() {
        assert_eq!(list_index("[3]"), Some(ListIndex::At(3)));
        assert_eq!(list_index("[-1]"), Some(ListIndex::End));
        assert_eq!(list_index("[-2]"), None);
        assert_eq!(list_index("3"), None);
        assert_eq!(key_value("[name:x]"), Some(("name", "x")));
        assert_eq!(key_value(r"[name:x\:y]"), Some(("name", r"x\:y")));
        assert_eq!(key_value("[name:x:y]"), None);
        assert_eq!(key_value("[a.b:x]"), None);
        assert_eq!(key_value("[:x]"), None);
        assert_eq!(scalar_pattern("[:x]"), Some("x"));
        assert_eq!(scalar_pattern("[a:x]"), Some("a:x"));
        assert_eq!(scalar_pattern("[]"), None);
    }
}
