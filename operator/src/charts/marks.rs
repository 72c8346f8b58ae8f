//! Templates whose output tells which line of which file each of its lines comes from, in a comment.

use std::borrow::Cow;

use super::files::{Files, has_suffix};

/// What begins a mark.
const MARK: &str = " #@";

/// A line of a template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TemplateLine {
    /// The file inside the charts directory.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
}

/// The files of the charts with a mark at the end of every line of a template that gives output.
pub(super) fn marked(files: &Files) -> Files {
    let mark = |(file, text): (&String, &Cow<'static, str>)| {
        let marked = if has_suffix(file, "hbs") {
            Cow::Owned(mark_lines(file, text))
        } else {
            text.clone()
        };
        (file.clone(), marked)
    };
    files.iter().map(mark).collect()
}

fn mark_lines(file: &str, text: &str) -> String {
    let mut marked = String::with_capacity(text.len() * 2);
    let (mut is_in_tag, mut is_silent) = (false, false);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let content = line.trim_end_matches('\n');
        // The lines of a tag are what its first one is.
        if !is_in_tag {
            is_silent = !gives_output(content);
        }
        is_in_tag = ends_in_tag(content, is_in_tag);
        marked.push_str(content);
        // Without a line break, what calls a partial goes on behind it.
        let has_end = content.len() < line.len();
        if has_end && !is_in_tag && !is_silent {
            marked.extend([MARK, file, ":", &(index + 1).to_string()]);
        }
        marked.push_str(&line[content.len()..]);
    }
    marked
}

/// Whether the end of a line is inside of a tag, of whose texts the braces do not count.
fn ends_in_tag(line: &str, mut is_in_tag: bool) -> bool {
    let (mut rest, mut is_in_text) = (line, false);
    while let Some(next) = rest.chars().next() {
        let width = if is_in_tag && next == '"' {
            is_in_text = !is_in_text;
            1
        } else if !is_in_text && rest.starts_with(if is_in_tag { "}}" } else { "{{" }) {
            is_in_tag = !is_in_tag;
            2
        } else {
            next.len_utf8()
        };
        rest = &rest[width..];
    }
    is_in_tag
}

/// Whether a line is more than a block tag, a comment or a call of a partial, which stand alone.
fn gives_output(line: &str) -> bool {
    let line = line.trim();
    let stands_alone = ["{{#", "{{/", "{{else", "{{!", "{{>", "#", "---"];
    !line.is_empty() && !stands_alone.iter().any(|start| line.starts_with(start))
}

/// The mark that tells of a line of an output: its own, or the nearest one behind it, where a value takes several lines.
pub(super) fn mark_of(output: &str, line: usize) -> Option<TemplateLine> {
    let mut lines = output.lines().skip(line.checked_sub(1)?);
    lines.find_map(|line| {
        let (_, mark) = line.rsplit_once(MARK)?;
        let (file, line) = mark.rsplit_once(':')?;
        Some(TemplateLine {
            file: file.to_owned(),
            line: line.parse().ok()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_give_output_are_marked() {
        let text = "{{!-- x\n --}}\n{{#if a}}\na: 1\nb: {{json (merge\n  \"{{ x }}\"\n)}}\n{{/if}}\n{{> p}}\nlast";
        let marked = mark_lines("c/t.hbs", text);
        let expected = "{{!-- x\n --}}\n{{#if a}}\na: 1 #@c/t.hbs:4\nb: {{json (merge\n  \"{{ x }}\"\n)}} #@c/t.hbs:7\n{{/if}}\n{{> p}}\nlast";
        assert_eq!(marked, expected);
    }

    #[test]
    fn a_value_of_several_lines_has_the_mark_behind_it() {
        let output = "a: 1 #@f:2\nb: [1,\n 2] #@f:4\n";
        let line = |line| mark_of(output, line).map(|mark| mark.line);
        assert_eq!((line(1), line(2), line(4)), (Some(2), Some(4), None));
    }
}
