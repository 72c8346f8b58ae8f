//! Formats: strings and numbers with a grammar, by the name that a schema uses.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::Value;

use super::quantity;

/// The description of a format for errors, such as `a port from 1 to 65535`; none if there is no such format.
pub(crate) fn expected(format: &str) -> Option<&'static str> {
    Some(match format {
        "address" | "optional-address" => "an address such as zipkin.tracing:9411",
        "cidr-list" => "a list of address ranges such as 10.0.0.0/8,192.168.0.0/16, or *",
        "connect-timeout" => "a time from 1ms to 1h such as 10s, in whole milliseconds",
        "deadline" => "a time of at least 1s such as 10m",
        "delay" => "a time other than 0s such as 10ms",
        "drain-time" => "a time such as 45s, in whole seconds",
        "duration" => "a duration such as 30s or 1m30s",
        "detection-time" => "a time such as 5s, in whole milliseconds",
        "gateway-name" => "a name of at most 254 lower-case letters, digits, '.' and '-'",
        "host" => "a host name such as example.com or *.example.com",
        "hub" => "a registry and path such as docker.io/istio",
        "overlay-path" => {
            "a path such as spec.template.spec.containers.[name:discovery].image, \
             with a dot inside of a name written as \\."
        }
        "percentage" => "a number from 0 to 100",
        "port" => "a port from 1 to 65535",
        "port-list" => "a list of ports such as 8080,9090, or *",
        "quantity" => "a quantity such as 100m or 2Gi",
        "retention" => "a time such as 15d or 12h, in whole hours (h), days (d) or weeks (w)",
        "revision" => "a name of at most 63 lower-case letters, digits and '-'",
        "tag" => "an image tag of 1 to 128 letters, digits, '_', '-' and '.'",
        "text" => "a text that is not empty",
        "time-of-day" => "a time of day such as 22:00, in quotes",
        "time-zone" => "the name of a time zone such as Asia/Shanghai",
        "time-span" => "a time of at least 0s such as 30s",
        "trust-domain" => "a domain such as cluster.local",
        "url" => "a URL such as https://mesh.example.com/kiali, without a query",
        "version" => "an Istio version in quotes, such as \"1.30\" or \"1.30.3\"",
        "whole-milliseconds" => "a time of at least 1ms such as 10s, in whole milliseconds",
        _ => return None,
    })
}

/// Whether a value is of a format. Upstream checks the same grammars.
pub(crate) fn holds(format: &str, value: &Value) -> bool {
    let text = value.as_str();
    let is = |check: fn(&str) -> bool| text.is_some_and(check);
    match format {
        "address" => is(is_address),
        "cidr-list" => is(|text| is_list(text, is_cidr)),
        "connect-timeout" => is(is_timeout),
        "deadline" => is(|text| nanoseconds(text).is_some_and(|ns| ns >= 1e9)),
        "delay" => is(|text| nanoseconds(text).is_some_and(|time| time != 0.0)),
        "drain-time" => is(is_drain_time),
        "duration" => is(|text| nanoseconds(text).is_some()),
        "detection-time" => is(|text| nanoseconds(text).is_some_and(|ns| ns % 1e6 == 0.0)),
        "gateway-name" => is(is_gateway_name),
        "host" => is(is_host),
        "hub" => is(is_hub),
        "optional-address" => is(|text| text.is_empty() || is_address(text)),
        "overlay-path" => is(is_overlay_path),
        "percentage" => value
            .as_f64()
            .is_some_and(|percent| (0.0..=100.0).contains(&percent)),
        "port" => number(value).is_some_and(|port| (1..=65535).contains(&port)),
        "port-list" => is(|text| is_list(text, is_listed_port)),
        "quantity" => quantity::is_quantity(value),
        "retention" => is(|text| hours(text).is_some()),
        "revision" => is(is_revision),
        "tag" => is_tag(value),
        "text" => is(|text| !text.is_empty()),
        "time-span" => is(|text| nanoseconds(text).is_some_and(|ns| ns >= 0.0)),
        "time-of-day" => is(|text| minute_of_day(text).is_some()),
        "time-zone" => is(is_time_zone),
        "trust-domain" => is(is_trust_domain),
        "url" => is(|text| Url::read(text).is_some()),
        "version" => is(is_version),
        "whole-milliseconds" => is(|text| nanoseconds(text).is_some_and(is_whole_milliseconds)),
        _ => true,
    }
}

/// Reads a time that is not negative, such as `1m30s`.
pub(crate) fn time_span(text: &str) -> Option<Duration> {
    let seconds = nanoseconds(text)? / 1e9;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Reads a whole number, also in quotes, as protocol buffers read JSON.
pub(crate) fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// A URL of a web page: what addons have to know of the one that people open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Url<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The host, without a port.
    pub host: &'a str,
    /// The port; none if the URL names none.
    pub port: Option<u16>,
    /// The path without a slash at its end: empty, or such as `/kiali`.
    pub path: &'a str,
}

impl<'a> Url<'a> {
    /// Reads a URL without user, query and fragment; none if the text is anything else.
    pub fn read(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
            _ => (authority, None),
        };
        let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let is_host = match inner {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => host.split('.').all(is_dns_label),
        };
        let in_path = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
        let is_url = ["http", "https"].contains(&scheme)
            && is_host
            && port != Some(0)
            && path.bytes().all(in_path)
            && !path.contains("//");
        let path = path.trim_end_matches('/');
        is_url.then_some(Self {
            scheme,
            host,
            port,
            path,
        })
    }
}

/// The hours of a time to keep data for, such as 360 of `15d`.
pub(crate) fn hours(text: &str) -> Option<u32> {
    let unit = text.chars().last()?;
    let number = text.strip_suffix(unit)?;
    let is_plain = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
    let number: u32 = number.parse().ok().filter(|_| is_plain)?;
    let factor = match unit {
        'h' => 1,
        'd' => 24,
        'w' => 24 * 7,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Reads a time of day such as `22:00`, in minutes from midnight.
pub(crate) fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str, below: u16| {
        let is_plain = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        let number: u16 = text.parse().ok().filter(|_| is_plain)?;
        (number < below).then_some(number)
    };
    Some(number(hour, 24)? * 60 + number(minute, 60)?)
}

fn is_time_zone(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/_+-".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_list(text: &str, is_element: fn(&str) -> bool) -> bool {
    text.is_empty() || text == "*" || text.split(',').all(is_element)
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let digits = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
    let plain = digits && (bits == "0" || !bits.starts_with('0'));
    let bits: Option<u8> = bits.parse().ok().filter(|_| plain);
    match (address.parse(), bits) {
        (Ok(IpAddr::V4(_)), Some(bits)) => bits <= 32,
        (Ok(IpAddr::V6(_)), Some(bits)) => bits <= 128,
        _ => false,
    }
}

fn is_listed_port(text: &str) -> bool {
    matches!(text, "" | "*")
        || text
            .parse()
            .is_ok_and(|port: i64| (0..=65535).contains(&port))
}

fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Upstream accepts capital letters too, and then renders names that the API server refuses.
fn is_revision(text: &str) -> bool {
    text.is_empty() || (is_dns_label(text) && !text.contains(|c: char| c.is_ascii_uppercase()))
}

fn is_gateway_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    text.len() <= 254 && text.bytes().all(allowed)
}

fn is_trust_domain(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    !name.is_empty() && name.split('.').all(is_dns_label)
}

/// Whether it is a domain name. Its first label may be a wildcard or begin with one.
fn is_host(text: &str) -> bool {
    let (first, rest) = text.split_once('.').unwrap_or((text, ""));
    let label = first
        .strip_prefix("*-")
        .or_else(|| first.strip_prefix('*'))
        .unwrap_or(first);
    (first == "*" || is_dns_label(label)) && (rest.is_empty() || is_domain(rest))
}

/// Whether it is a host and a port. The host is a domain name or an IP address.
fn is_address(text: &str) -> bool {
    // The proxy replaces it by the address of its node.
    let text = text.replacen("$(HOST_IP)", "127.0.0.1", 1);
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_host = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.parse::<Ipv4Addr>().is_ok() || is_domain(host),
    };
    is_host
        && port
            .parse()
            .is_ok_and(|port: u32| (1..=65535).contains(&port))
}

fn is_domain(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let top = name.rsplit('.').next().unwrap_or_default();
    text.len() <= 255
        && name.split('.').all(is_dns_label)
        && !top.bytes().all(|b| b.is_ascii_digit())
}

/// Reads a Go duration, which is a list of numbers with units, in nanoseconds.
/// Reads a time of at least 0s.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let seconds = nanoseconds(text)? / 1e9;
    Duration::try_from_secs_f64(seconds).ok()
}

fn nanoseconds(text: &str) -> Option<f64> {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    if rest == "0" {
        return Some(0.0);
    }
    let mut sum = None;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let (unit, size) = UNITS.iter().find(|(unit, _)| tail.starts_with(unit))?;
        // Rust does not read `.5`, hence the zero in front.
        let has_digit = number.bytes().any(|b| b.is_ascii_digit());
        let number: f64 = format!("0{number}").parse().ok().filter(|_| has_digit)?;
        sum = Some(sum.unwrap_or(0.0) + number * size);
        rest = &tail[unit.len()..];
    }
    sum.map(|sum| sign * sum)
}

/// Units in nanoseconds. A unit that another one is a prefix of comes before that one.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 6e10),
    ("h", 3.6e12),
];

fn is_timeout(text: &str) -> bool {
    nanoseconds(text).is_some_and(|ns| is_whole_milliseconds(ns) && ns <= 3.6e12)
}

fn is_whole_milliseconds(ns: f64) -> bool {
    ns >= 1e6 && ns % 1e6 == 0.0
}

fn is_drain_time(text: &str) -> bool {
    nanoseconds(text).is_some_and(|ns| ns >= 1e9 && ns % 1e9 == 0.0)
}

/// Whether it can precede `/pilot` in the name of an image.
fn is_hub(text: &str) -> bool {
    let path = |text: &str| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-./".contains(&b);
        text.len() <= 249 && text.bytes().all(allowed)
    };
    let authority = |text: &str| {
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]".contains(&b);
        host.bytes().all(allowed) && port.bytes().all(|b| b.is_ascii_digit())
    };
    match text.split_once('/') {
        Some((registry, rest)) if registry.contains(['.', ':']) => {
            authority(registry) && path(rest)
        }
        None if text.contains(['.', ':']) => authority(text),
        _ => path(text),
    }
}

fn is_tag(value: &Value) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    match value {
        Value::String(text) => (1..=128).contains(&text.len()) && text.bytes().all(allowed),
        other => !other.is_object() && !other.is_array(),
    }
}

fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    matches!(parts.len(), 2 | 3) && parts.iter().all(is_number)
}

/// Whether every bracket of an overlay's path is closed within its element. If one is not, a dot should have been escaped.
/// An empty path passes here, because another check refuses it.
fn is_overlay_path(text: &str) -> bool {
    let mut escaped = false;
    let mut elements = vec![String::new()];
    for c in text.chars() {
        match elements.last_mut() {
            Some(_) if c == '.' && !escaped => elements.push(String::new()),
            Some(element) => element.push(c),
            None => {}
        }
        escaped = c == '\\';
    }
    let closed = |element: &String| match element.split_once('[') {
        Some((_, selector)) => selector.len() > 1 && selector.ends_with(']'),
        None => !element.ends_with(']'),
    };
    elements.iter().all(closed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A format, texts that are of it, and texts that are not.
    type Row = (
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
    );

    #[rustfmt::skip]
    const TABLE: [Row; 17] = [
        ("address",
            &["zipkin.istio-system:9411", "10.0.0.1:80", "[::1]:80", "$(HOST_IP):1"],
            &["", "zipkin", "zipkin:0", "zipkin:x", ":80", "a b:80", "::1:80", "1.2:80"]),
        ("cidr-list",
            &["", "*", "10.1.0.0/16", "10.0.0.0/8,fd00::/8", "0.0.0.0/0"],
            &["10.1.0.0", "10.1.0.0/33", "a/8", "1.0.0.0/8, 2.0.0.0/8", "1.1.1.1/08", "*,*"]),
        ("connect-timeout", &["10s", "1h", "1ms"], &["0s", "61m", "1500us", "10"]),
        ("drain-time", &["45s", "1m"], &["0s", "1500ms", "45"]),
        ("duration",
            &["0", "30s", "1m30s", "1.5h", "100ms", "-1s", ".5s", "5.s"],
            &["", "30", "s", "1x", "1d", "1.2.3s", " 1s"]),
        ("detection-time", &["0s", "-1s", "1500ms"], &["1500us", "5"]),
        ("host",
            &["*", "a", "1", "a.", "*.example.com", "*-a.b", "A.b.", "*a.b"],
            &["", ".", "a_b", "a.*.b", "*-", "**", "a..b", "a.1", "*.1"]),
        ("time-span", &["0s", "1ns"], &["-1s", "5"]),
        ("whole-milliseconds", &["1ms", "2h"], &["0s", "-1s", "1500us"]),
        ("gateway-name", &["", "a", "a.b-c"], &["A", "a_b", "a b"]),
        ("hub",
            &["docker.io/istio", "m.daocloud.io/docker.io/istio", "localhost:5000", "h:1/a/",
              "istio", "http://x", "REG.example/a", ""],
            &["bad hub!", "Docker/istio", "a.b:x/c", "reg.io/A", "a@b"]),
        ("overlay-path",
            &["spec", "a.[name:x].b", "a[0].b", "a.b\\.c/d", "a.[name:x\\.y]", ".a.", "a.[30m]"],
            &["a.[name:x.y].b", "a.[", "a.[]", "a]"]),
        ("port-list", &["", "*", "0", "80,443", "80,*"], &["x", "65536", "80, 443", "-1"]),
        ("revision", &["", "a", "1-26-8", "123"], &["-a", "a-", "A", "a.b", "a_b"]),
        ("tag", &["1.26.0", "latest", "A_b-c.d"], &["", "bad/tag", "a b", "a:b", "a@b"]),
        ("trust-domain", &["cluster.local", "corp.", "a", "A.b"], &["", ".", "a..b", "a-", "a_b"]),
        ("version", &["1.30", "1.30.3"], &["1", "1.x", "1.2.3.4", "v1.30", ""]),
    ];

    #[test]
    fn formats_are_those_of_upstream() {
        for (format, good, bad) in TABLE {
            assert!(expected(format).is_some());
            for text in good {
                assert!(holds(format, &json!(text)), "{format} {text:?}");
            }
            for text in bad {
                assert!(!holds(format, &json!(text)), "{format} {text:?}");
            }
        }
        assert!(holds("port", &json!(80)) && holds("port", &json!("80")));
        assert!(!holds("port", &json!(0)) && !holds("port", &json!("x")));
        assert!(holds("tag", &json!(1.5)));
    }
}
