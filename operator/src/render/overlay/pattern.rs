//! Regular expressions as Go reads them, for the scalars of a list.

use regex::Regex;

/// Compiles a pattern in Go's syntax; none for one that Go refuses.
///
/// Rust's syntax is close to Go's. These differ: in Go a repetition cannot be repeated,
/// `\d`, `\s` and `\w` are ASCII, `\Q...\E` quotes, `\101` is an octal number, `\<` is no anchor, a
/// brace that begins no repetition stands for itself, and a class holds no other class or operator.
pub(super) fn compile(pattern: &str) -> Option<Regex> {
    let mut translation = Translation {
        rest: pattern,
        text: String::new(),
    };
    translation.run()?;
    Regex::new(&translation.text).ok()
}

/// The translation of a pattern, in one pass, because the user's pattern may be long.
struct Translation<'p> {
    rest: &'p str,
    text: String,
}

impl Translation<'_> {
    fn run(&mut self) -> Option<()> {
        let mut repeated = false;
        while let Some(c) = self.next() {
            let count = if c == '{' { self.count() } else { 0 };
            let repeats = matches!(c, '*' | '+' | '?') || count > 0;
            if repeats {
                if repeated {
                    return None;
                }
                self.text.push(c);
                self.copy(count);
                // A lazy repetition.
                self.copy_if('?');
            } else {
                match c {
                    '\\' => self.escape(false)?,
                    '[' => self.class()?,
                    '{' => self.text.push_str("\\{"),
                    c => self.text.push(c),
                }
            }
            repeated = repeats;
        }
        Some(())
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// Skips this character if it comes next, and says whether it did.
    fn passes(&mut self, c: char) -> bool {
        let after = self.rest.strip_prefix(c);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// Copies `length` bytes.
    fn copy(&mut self, length: usize) {
        let (copied, rest) = self.rest.split_at(length);
        self.text.push_str(copied);
        self.rest = rest;
    }

    fn copy_if(&mut self, c: char) {
        if self.passes(c) {
            self.text.push(c);
        }
    }

    /// The length of `2}`, `2,}` or `2,3}` if that comes next, otherwise 0.
    fn count(&self) -> usize {
        let is_other = |c: char| !c.is_ascii_digit() && c != ',';
        let end = self.rest.find(is_other).unwrap_or(self.rest.len());
        let (count, after) = self.rest.split_at(end);
        let (low, high) = count.split_once(',').unwrap_or((count, ""));
        let is_count = !low.is_empty() && !high.contains(',') && after.starts_with('}');
        if is_count { end + 1 } else { 0 }
    }

    /// Translates what follows a backslash.
    fn escape(&mut self, in_class: bool) -> Option<()> {
        let c = self.next()?;
        let ascii = match c.to_ascii_lowercase() {
            'd' => "0-9",
            's' => "\\t\\n\\f\\r ",
            'w' => "0-9A-Za-z_",
            _ => "",
        };
        match c {
            _ if !ascii.is_empty() => {
                let text = match (c.is_ascii_uppercase(), in_class) {
                    (true, _) => format!("[^{ascii}]"),
                    (false, true) => ascii.to_owned(),
                    (false, false) => format!("[{ascii}]"),
                };
                self.text.push_str(&text);
            }
            'Q' if !in_class => {
                let (quoted, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
                self.text.push_str(&regex::escape(quoted));
                self.rest = rest;
            }
            'b' if !in_class => self.text.push_str("(?-u:\\b)"),
            '<' | '>' => self.text.push(c),
            '0'..='7' => self.octal(c)?,
            c => self.text.extend(['\\', c]),
        }
        Some(())
    }

    /// Translates `\0`, or up to three octal digits. Another single digit would be a back reference, which Go does not have.
    fn octal(&mut self, first: char) -> Option<()> {
        let mut number = first.to_digit(8)?;
        let mut digits = 1;
        while let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8)) {
            if digits == 3 {
                break;
            }
            number = number * 8 + digit;
            digits += 1;
            self.next();
        }
        if digits == 1 && first != '0' {
            return None;
        }
        let code = char::from_u32(number)?;
        self.text.push_str(&regex::escape(&code.to_string()));
        Some(())
    }

    fn class(&mut self) -> Option<()> {
        self.text.push('[');
        self.copy_if('^');
        if self.passes(']') {
            self.text.push_str("\\]");
        }
        loop {
            match self.next()? {
                ']' => break,
                '\\' => self.escape(true)?,
                '[' if self.rest.starts_with(':') => {
                    self.text.push('[');
                    self.copy(self.rest.find(']')? + 1);
                }
                c @ ('[' | '&' | '~') => self.text.extend(['\\', c]),
                c => self.text.push(c),
            }
        }
        self.text.push(']');
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        let cases = [
            (r"^-{2}domain$", "--domain", true),
            (r"discovery{", "discovery{", true),
            (r"d**", "discovery", false),
            (r"d++", "discovery", false),
            (r"d+?", "discovery", true),
            (r"\Qa.b\E+$", "a.bb", true),
            (r"\Qa.b\E", "axb", false),
            (r"\<d", "discovery", false),
            (r"\<d", "<d", true),
            (r"\144iscovery", "discovery", true),
            (r"(d)\1", "dd", false),
            (r"^\d$", "٣", false),
            (r"^[\d\s]+$", "1 2", true),
            (r"^[^\W]+$", "a_1", true),
            (r"^[a-z&&[^d]]", "cluster.local", false),
            (r"^[[:alpha:]]+$", "discovery", true),
            (r"^[]a]+$", "a]", true),
            (r"\bdomain\b", "--domain", true),
            (r"(?=d)", "d", false),
            (r"[", "[", false),
            (r"(", "(", false),
            (r"\", "\\", false),
        ];
        for (pattern, text, expected) in cases {
            let found = compile(pattern).is_some_and(|regex| regex.is_match(text));
            assert_eq!(found, expected, "{pattern} in {text}");
        }
    }

    #[test]
    fn many_quotes_are_read_without_recursion() {
        let quotes = r"\Q\E".repeat(100_000);
        assert!(compile(&quotes).is_some_and(|regex| regex.is_match("")));
    }
}
