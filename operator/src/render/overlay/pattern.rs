//! Regular expressions as Go reads them, for the scalars of a list.

use std::iter::Peekable;
use std::str::Chars;

use regex::Regex;

/// What a pattern in Go's syntax means; none for one that Go refuses.
///
/// The two syntaxes are of one family. They part in these: in Go a repetition cannot be repeated,
/// `\d`, `\s` and `\w` are ASCII, `\Q...\E` quotes, `\101` is an octal number, `\<` is no anchor, a
/// brace that begins no repetition stands for itself, and a class holds no other class or operator.
pub(super) fn compile(pattern: &str) -> Option<Regex> {
    let mut translation = Translation {
        rest: pattern.chars().peekable(),
        text: String::new(),
    };
    translation.run()?;
    Regex::new(&translation.text).ok()
}

struct Translation<'p> {
    rest: Peekable<Chars<'p>>,
    text: String,
}

impl Translation<'_> {
    fn run(&mut self) -> Option<()> {
        let mut repeated = false;
        while let Some(c) = self.rest.next() {
            let repeats = matches!(c, '*' | '+' | '?') || (c == '{' && self.begins_count());
            if repeats {
                if repeated {
                    return None;
                }
                self.text.push(c);
                if c == '{' {
                    self.copy_to('}');
                }
                // Makes it lazy.
                self.text.extend(self.rest.next_if_eq(&'?'));
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

    /// Whether `2}`, `2,}` or `2,3}` comes next.
    fn begins_count(&self) -> bool {
        let rest: String = self.rest.clone().take_while(|c| *c != '}').collect();
        let (low, high) = rest.split_once(',').unwrap_or((&rest, ""));
        let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        self.rest.clone().any(|c| c == '}') && !low.is_empty() && is_number(low) && is_number(high)
    }

    fn copy_to(&mut self, end: char) {
        for c in self.rest.by_ref() {
            self.text.push(c);
            if c == end {
                break;
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, in_class: bool) -> Option<()> {
        let c = self.rest.next()?;
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
            'Q' if !in_class => self.quoted(),
            'b' if !in_class => self.text.push_str("(?-u:\\b)"),
            '<' | '>' => self.text.push(c),
            '0'..='7' => self.octal(c)?,
            c => self.text.extend(['\\', c]),
        }
        Some(())
    }

    fn quoted(&mut self) {
        let rest: String = self.rest.by_ref().collect();
        let (quoted, tail) = rest.split_once("\\E").unwrap_or((&rest, ""));
        self.text.push_str(&regex::escape(quoted));
        let mut tail = Translation {
            rest: tail.chars().peekable(),
            text: String::new(),
        };
        // What cannot be read after the quote cannot be compiled either.
        match tail.run() {
            Some(()) => self.text.push_str(&tail.text),
            None => self.text.push('('),
        }
    }

    /// `\0`, or up to three octal digits; one other digit would refer back, which Go cannot.
    fn octal(&mut self, first: char) -> Option<()> {
        let mut number = first.to_digit(8)?;
        let mut digits = 1;
        while let Some(digit) = self.rest.peek().and_then(|c| c.to_digit(8)) {
            if digits == 3 {
                break;
            }
            number = number * 8 + digit;
            digits += 1;
            self.rest.next();
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
        self.text.extend(self.rest.next_if_eq(&'^'));
        if self.rest.next_if_eq(&']').is_some() {
            self.text.push_str("\\]");
        }
        loop {
            match self.rest.next()? {
                ']' => break,
                '\\' => self.escape(true)?,
                '[' if self.rest.peek() == Some(&':') => {
                    self.text.push('[');
                    self.copy_to(']');
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
}
