//! Grammars of names and values that the API server asks for.

use std::net::IpAddr;

use crate::api::format;

/// A grammar of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::render) enum Format {
    /// An IP address.
    Address,
    /// A range of addresses such as `10.0.0.0/8`.
    AddressRange,
    /// An IP address, or `None`.
    ClusterAddress,
    /// The key of an entry of a `ConfigMap`.
    ConfigKey,
    /// A DNS label.
    DnsLabel,
    /// A DNS name.
    DnsName,
    /// The name of a variable.
    EnvName,
    /// A list of at least three DNS labels.
    FullName,
    /// The key of a label or an annotation.
    LabelKey,
    /// As [`Format::LabelKey`], in any case.
    AnnotationKey,
    /// The value of a label.
    LabelValue,
    /// A path that begins at the root.
    AbsolutePath,
    /// A text that is not empty.
    NotEmpty,
    /// The name of an object of RBAC.
    PathSegment,
    /// The name of a port of a container.
    PortName,
}

impl Format {
    /// What an error says that was expected.
    pub fn expected(self) -> &'static str {
        match self {
            Self::Address => "an IP address",
            Self::ClusterAddress => "an IP address or None",
            Self::AddressRange => "a range of addresses such as 10.0.0.0/8",
            Self::ConfigKey => "a name of letters, digits, '-', '_' and '.'",
            Self::DnsLabel => "a name of at most 63 lower-case letters, digits and '-'",
            Self::DnsName => "a name of at most 253 lower-case letters, digits, '-' and '.'",
            Self::EnvName => "a name of printable letters without '='",
            Self::FullName => "a name of at least three parts with dots between them",
            Self::LabelKey | Self::AnnotationKey => {
                "a key such as app or example.com/app, of at most 63 letters, digits, '-', '_' and '.'"
            }
            Self::LabelValue => {
                "a value of at most 63 letters, digits, '-', '_' and '.' that begins and ends with a \
                 letter or digit"
            }
            Self::AbsolutePath => "a path that begins with /",
            Self::NotEmpty => "a text that is not empty",
            Self::PathSegment => "a name without / and %",
            Self::PortName => {
                "the name of a port, of at most 15 lower-case letters, digits and single '-'"
            }
        }
    }

    /// Whether a text is of this grammar.
    pub fn holds(self, text: &str) -> bool {
        match self {
            Self::Address => is_address(text),
            Self::ClusterAddress => text == "None" || is_address(text),
            Self::AddressRange => format::holds("cidr-list", &text.trim().into()),
            Self::ConfigKey => is_config_key(text),
            Self::DnsLabel => is_dns_label(text),
            Self::DnsName => is_dns_name(text),
            Self::EnvName => {
                !text.is_empty()
                    && text
                        .bytes()
                        .all(|b| (b' '..=b'~').contains(&b) && b != b'=')
            }
            Self::FullName => is_dns_name(text) && text.split('.').count() >= 3,
            Self::LabelKey => is_qualified(text),
            Self::AnnotationKey => is_qualified(&text.to_lowercase()),
            Self::LabelValue => text.is_empty() || is_word(text),
            Self::AbsolutePath => text.starts_with('/'),
            Self::NotEmpty => !text.is_empty(),
            Self::PathSegment => !matches!(text, "" | "." | "..") && !text.contains(['/', '%']),
            Self::PortName => is_port_name(text),
        }
    }
}

/// The number of a share such as `25%`.
pub(super) fn share(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('%')?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_part(text)
}

fn is_dns_part(text: &str) -> bool {
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !text.is_empty()
        && text.bytes().all(|b| lower(b) || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_part)
}

fn is_qualified(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_name(prefix) && is_word(name),
        None => is_word(text),
    }
}

fn is_word(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    text.len() <= 63
        && text.bytes().all(inner)
        && ends(text.chars().next())
        && ends(text.chars().last())
}

fn is_config_key(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=253).contains(&text.len())
        && !text.starts_with("..")
        && text != "."
        && text.bytes().all(allowed)
}

fn is_port_name(text: &str) -> bool {
    text.len() <= 15
        && is_dns_part(text)
        && !text.contains("--")
        && text.bytes().any(|b| b.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_digits_before_a_sign() {
        assert_eq!(share("0%"), Some(0));
        assert_eq!(share("120%"), Some(120));
        for text in ["", "%", "5", "-5%", "5.5%", "+5%"] {
            assert_eq!(share(text), None, "{text}");
        }
    }

    #[test]
    fn texts_are_of_a_format_or_not() {
        let long = "x".repeat(64);
        let cases: [(Format, &[&str], &[&str]); 12] = [
            (
                Format::ConfigKey,
                &["a", "A_b.c-1", ".a"],
                &["", ".", "..", "..a", "a b", "[0]"],
            ),
            (
                Format::DnsLabel,
                &["a", "a-1", "1a"],
                &["", "-a", "a-", "A", "a.b", "a_b", &long],
            ),
            (
                Format::DnsName,
                &["a", "a.b-1", &long],
                &["", ".a", "a..b", "A.b"],
            ),
            (
                Format::EnvName,
                &["A", "a.b-c", "1 x"],
                &["", "a=b", "\u{e4}", "a\n"],
            ),
            (Format::FullName, &["a.b.c"], &["a.b", "a", ""]),
            (
                Format::LabelKey,
                &["a", "A_b.c", "x.y/z"],
                &["", "a/b/c", "/a", "a/", "X.y/z", &long],
            ),
            (Format::AnnotationKey, &["X.y/Z"], &["a b", "a/"]),
            (
                Format::LabelValue,
                &["", "a", "A.b_c-1"],
                &["a b", "-a", "a-", "\u{e4}", &long],
            ),
            (Format::AbsolutePath, &["/"], &["", "a"]),
            (Format::NotEmpty, &["a"], &[""]),
            (
                Format::PathSegment,
                &["a:b", "A"],
                &["", ".", "..", "a/b", "%"],
            ),
            (
                Format::PortName,
                &["http", "a-1"],
                &["", "1", "a--b", "-a", "Http", "abcdefghijklmnop"],
            ),
        ];
        for (format, right, wrong) in cases {
            for text in right {
                assert!(format.holds(text), "{format:?} {text:?}");
            }
            for text in wrong {
                assert!(!format.holds(text), "{format:?} {text:?}");
            }
        }
    }
}
