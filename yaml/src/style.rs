//! How a text is written in YAML: the way Go's library does, which wrote what clusters hold already.

/// Lines are broken at the first space beyond this column.
const WIDTH: usize = 80;

/// Words that YAML 1.1 or 1.2 reads as a boolean or null.
const RESERVED: [&str; 10] = [
    "true", "false", "yes", "no", "on", "off", "y", "n", "null", "~",
];

/// The forms of a text, the more readable the better.
enum Style {
    /// Plain, and surely on one line.
    Word,
    Plain,
    Single,
    Double,
    Literal,
}

/// Writes a key, which never goes over several lines.
pub(super) fn write_key(out: &mut String, text: &str) {
    match style(text) {
        Style::Word | Style::Plain => out.push_str(text),
        Style::Single => write_single(out, text, None),
        Style::Double | Style::Literal => write_double(out, text, None),
    }
}

/// Writes a value; the lines after its first one are indented so.
pub(super) fn write_value(out: &mut String, text: &str, indent: usize) {
    match style(text) {
        Style::Word => out.push_str(text),
        Style::Plain => write_plain(out, text, indent),
        Style::Single => write_single(out, text, Some(indent)),
        Style::Double => write_double(out, text, Some(indent)),
        Style::Literal => write_literal(out, text, indent),
    }
}

fn style(text: &str) -> Style {
    if is_word(text) {
        return Style::Word;
    }
    let printable = is_plain_ascii(text) || text.chars().all(is_printable);
    if text.contains('\n') {
        // A space at the end of a line would be lost.
        let fits = printable && !text.ends_with(' ') && !text.contains(" \n");
        return if fits { Style::Literal } else { Style::Double };
    }
    if !printable || is_other(text) {
        Style::Double
    } else if may_be_plain(text) {
        Style::Plain
    } else {
        Style::Single
    }
}

/// What most texts are: letters first, and nothing that means anything to YAML. This is quick to see.
fn is_word(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/');
    let inner = text.strip_prefix('/').unwrap_or(text);
    inner.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(word)
        && !is_reserved(text)
}

fn is_reserved(text: &str) -> bool {
    RESERVED.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Whether a text has printable ASCII only. Long texts mostly do, and whole blocks of bytes are quick to see.
fn is_plain_ascii(text: &str) -> bool {
    let is_plain = |b: &u8| matches!(b, b'\n' | b' '..=b'~');
    let blocks = text.as_bytes().chunks(32);
    let mut plain = blocks.map(|block| block.iter().fold(true, |plain, b| plain & is_plain(b)));
    plain.all(|plain| plain)
}

/// Whether Go writes the character as it is; what lies beyond the 16 bits of old it escapes.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

/// Whether a reader takes the plain text for something else than a text.
fn is_other(text: &str) -> bool {
    let may_be_number = text.starts_with(|c: char| matches!(c, '+' | '-' | '.' | '0'..='9'));
    text.is_empty()
        || text == "<<"
        || is_reserved(text)
        || may_be_number && (is_number(text) || is_sexagesimal(text) || is_date(text))
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['+', '-']).unwrap_or(text)
}

fn is_number(text: &str) -> bool {
    let plain = text.replace('_', "");
    let digits = unsigned(&plain);
    let special = digits.strip_prefix('.').unwrap_or_default();
    if special.eq_ignore_ascii_case("inf") || text.eq_ignore_ascii_case(".nan") {
        return true;
    }
    for (prefix, radix) in [("0x", 16), ("0X", 16), ("0b", 2), ("0o", 8)] {
        if let Some(rest) = digits.strip_prefix(prefix) {
            return !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix));
        }
    }
    // Rust reads the decimal numbers that Go does, and a few words besides.
    digits.starts_with(|c: char| c == '.' || c.is_ascii_digit()) && digits.parse::<f64>().is_ok()
}

/// A number to the base of 60, such as `1:30`, which YAML 1.1 has for times.
fn is_sexagesimal(text: &str) -> bool {
    let mut parts = unsigned(text).split(':');
    let first = parts.next().unwrap_or_default();
    let mut rest = parts.peekable();
    let number = |b: u8| b.is_ascii_digit() || b == b'_';
    let sixtieth = |part: &str| match part.as_bytes() {
        [one] | [b'0'..=b'5', one] => one.is_ascii_digit(),
        _ => false,
    };
    rest.peek().is_some()
        && first.starts_with(|c: char| c.is_ascii_digit())
        && first.bytes().all(number)
        && rest.all(|part| {
            let (whole, fraction) = part.split_once('.').unwrap_or((part, ""));
            sixtieth(whole) && fraction.bytes().all(number)
        })
}

/// A date such as `2026-01-31`, with or without a time of day.
fn is_date(text: &str) -> bool {
    let day = text.split(['T', 't', ' ']).next().unwrap_or_default();
    let parts: Vec<&str> = day.split('-').collect();
    let number = |part: &str, longest| {
        (1..=longest).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
    };
    match parts.as_slice() {
        [year, month, day] => {
            year.len() == 4 && number(year, 4) && number(month, 2) && number(day, 2)
        }
        _ => false,
    }
}

/// Whether nothing in a text of one line means anything to YAML.
fn may_be_plain(text: &str) -> bool {
    const INDICATORS: [char; 17] = [
        '#', ',', '[', ']', '{', '}', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`', ' ',
    ];
    let leading =
        text.starts_with(INDICATORS) || text.starts_with("---") || text.starts_with("...");
    let alone = ["?", "-"].iter().any(|sign| {
        let rest = text.strip_prefix(sign);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    });
    let inside = text.contains(": ") || text.contains(" #") || text.ends_with([':', ' ']);
    !leading && !alone && !inside
}

fn write_plain(out: &mut String, text: &str, indent: usize) {
    let mut line = Line::new(out, Some(indent));
    write_folded(&mut line, text, None);
}

fn write_single(out: &mut String, text: &str, indent: Option<usize>) {
    let mut line = Line::new(out, indent);
    line.push('\'');
    write_folded(&mut line, text, Some('\''));
    line.push('\'');
}

/// Writes a text with every `quote` twice, and breaks a full line at a space that stands alone between others.
fn write_folded(line: &mut Line<'_>, text: &str, quote: Option<char>) {
    let mut before: Option<&str> = None;
    for word in text.split(' ') {
        match before {
            None => {}
            Some(before) if !before.is_empty() && !word.is_empty() && line.is_full() => line.fold(),
            Some(_) => line.push(' '),
        }
        match quote.filter(|quote| word.contains(*quote)) {
            Some(quote) => line.push_all(&word.replace(quote, &format!("{quote}{quote}"))),
            None => line.push_all(word),
        }
        before = Some(word);
    }
}

fn write_double(out: &mut String, text: &str, indent: Option<usize>) {
    let mut line = Line::new(out, indent);
    line.push('"');
    let mut rest = text.char_indices().peekable();
    let mut after_space = false;
    while let Some((index, c)) = rest.next() {
        let next = rest.peek().map(|(_, next)| *next);
        if c == ' ' && !after_space && index > 0 && next.is_some() && line.is_full() {
            line.fold();
            if next == Some(' ') {
                line.push('\\');
            }
        } else if c == '\n' || c == '"' || c == '\\' || !is_printable(c) {
            escaped(c).chars().for_each(|c| line.push(c));
        } else {
            line.push(c);
        }
        after_space = c == ' ';
    }
    line.push('"');
}

fn escaped(c: char) -> String {
    let short = match c {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        other => {
            return match u32::from(other) {
                code @ 0..=0xff => format!("\\x{code:02X}"),
                code @ 0x100..=0xffff => format!("\\u{code:04X}"),
                code => format!("\\U{code:08X}"),
            };
        }
    };
    format!("\\{short}")
}

fn write_literal(out: &mut String, text: &str, indent: usize) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        // The indentation of the first line would tell nothing.
        out.push('2');
    }
    let body = text.trim_end_matches('\n');
    let trailing = text.len() - body.len();
    if trailing == 0 {
        out.push('-');
    } else if trailing > 1 || body.is_empty() {
        out.push('+');
    }
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent_by(out, indent);
            out.push_str(line);
        }
    }
    out.push_str(&"\n".repeat(trailing.saturating_sub(1)));
}

/// Writes so many spaces.
pub(super) fn indent_by(out: &mut String, mut indent: usize) {
    const SPACES: &str = "                                ";
    while indent > 0 {
        let some = indent.min(SPACES.len());
        out.push_str(&SPACES[..some]);
        indent -= some;
    }
}

/// The line that is being written.
struct Line<'a> {
    out: &'a mut String,
    column: usize,
    /// Of the lines after this one; none where there may be no other.
    indent: Option<usize>,
}

impl<'a> Line<'a> {
    fn new(out: &'a mut String, indent: Option<usize>) -> Self {
        let start = out.rfind('\n').map_or(0, |index| index + 1);
        let column = out[start..].chars().count();
        Self {
            out,
            column,
            indent,
        }
    }

    fn push(&mut self, c: char) {
        self.out.push(c);
        self.column += 1;
    }

    fn push_all(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn is_full(&self) -> bool {
        self.indent.is_some() && self.column > WIDTH
    }

    fn fold(&mut self) {
        let indent = self.indent.unwrap_or_default();
        self.out.push('\n');
        indent_by(self.out, indent);
        self.column = indent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut out = "k: ".to_owned();
        write_value(&mut out, text, 2);
        assert_eq!(out, format!("k: {expected}"));
    }

    /// As measured on the engine of Istio 1.31.
    #[test]
    fn a_text_is_quoted_as_go_does() {
        for plain in [
            "100m", "1Gi", "50%", "a b", "x:y", ":a", "-x", "?x", "=", "grüße", "0x", "1.2.3",
        ] {
            check(plain, plain);
        }
        for single in [
            "x: y", "a #b", "- x", "#c", "*", "{{ x }}", "[x]", "a:", " x", "x ", "@x", "'x'",
        ] {
            check(single, &format!("'{}'", single.replace('\'', "''")));
        }
        for double in [
            "",
            "1",
            "1.5",
            "012",
            "0x1F",
            "1e3",
            "1_000",
            "yes",
            "N",
            "null",
            "~",
            "1:30",
            "2026-01-31",
            ".5",
            ".inf",
        ] {
            check(double, &format!("\"{double}\""));
        }
        check("a\tb", "\"a\\tb\"");
        check("a \nb", "\"a \\nb\"");
        check("\u{1f600}", "\"\\U0001F600\"");
    }

    #[test]
    fn lines_become_a_block() {
        check("a\nb", "|-\n  a\n  b");
        check("a\n", "|\n  a");
        check("a\n\n", "|+\n  a\n");
        check("  a\nb", "|2-\n    a\n  b");
    }

    #[test]
    fn long_texts_are_folded() {
        let long = "word ".repeat(30);
        let line = "word ".repeat(16);
        check(
            long.trim_end(),
            &format!("{}\n  {}", line.trim_end(), "word ".repeat(14).trim_end()),
        );
    }
}
