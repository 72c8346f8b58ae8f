//! The template functions that need nothing but their arguments. `helpers` registers them.
//!
//! An argument that is absent from the context is an error, except in functions that take it
//! ([`Function::takes_absent`]), which get null.

use serde_json::{Map, Value};

use super::tree::merge_over;
use super::yaml;

/// The result of a function, or what is wrong with its arguments.
pub(super) type Computed = Result<Value, String>;

/// One template function.
pub(super) struct Function {
    /// Its name in templates.
    pub(super) name: &'static str,
    /// Whether an argument may be absent from the context.
    pub(super) takes_absent: bool,
    /// What it computes.
    pub(super) call: fn(&[&Value]) -> Computed,
}

/// Every function that needs nothing but its arguments.
pub(super) static FUNCTIONS: [Function; 24] = [
    strict("json", json),
    strict("toYaml", to_yaml),
    strict("toPrettyJson", to_pretty_json),
    strict("fromYaml", from_yaml),
    lenient("default", default),
    lenient("lookup", lookup),
    strict("merge", merge),
    strict("concat", concat),
    strict("contains", contains),
    strict("trim", trim),
    strict("chomp", chomp),
    strict("trimPrefix", trim_prefix),
    strict("join", join),
    strict("split", split),
    strict("dict", dict),
    strict("pick", pick),
    strict("list", list),
    lenient("when", when),
    strict("dash", dash),
    strict("texts", texts),
    strict("number", number),
    strict("numbers", numbers),
    strict("ipFamily", ip_family),
    strict("digest", digest),
];

const fn strict(name: &'static str, call: fn(&[&Value]) -> Computed) -> Function {
    Function {
        name,
        takes_absent: false,
        call,
    }
}

const fn lenient(name: &'static str, call: fn(&[&Value]) -> Computed) -> Function {
    Function {
        name,
        takes_absent: true,
        call,
    }
}

/// Whether a value counts as true in Go templates: null, false, zero and everything empty do not.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// `json v`: the value as JSON text, which is YAML too.
fn json(args: &[&Value]) -> Computed {
    let [value] = exactly(args)?;
    let text = serde_json::to_string(value).map_err(|error| error.to_string())?;
    Ok(text.into())
}

/// `toPrettyJson v`: the value as indented JSON, with the characters escaped that Go escapes.
fn to_pretty_json(args: &[&Value]) -> Computed {
    let [value] = exactly(args)?;
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    // These stand in strings only.
    let escaped = text
        .chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            match c {
                '<' => out.push_str("\\u003c"),
                '>' => out.push_str("\\u003e"),
                '&' => out.push_str("\\u0026"),
                '\u{2028}' => out.push_str("\\u2028"),
                '\u{2029}' => out.push_str("\\u2029"),
                c => out.push(c),
            }
            out
        });
    Ok(escaped.into())
}

/// `toYaml v`: the value as YAML, with a line break at the end.
fn to_yaml(args: &[&Value]) -> Computed {
    let [value] = exactly(args)?;
    Ok(yaml::write(value).into())
}

/// `fromYaml s`: the value that a text of YAML stands for.
fn from_yaml(args: &[&Value]) -> Computed {
    let [text] = exactly(args)?;
    let text = text.as_str().ok_or("expects a string")?;
    yaml::parse(text).map_err(|error| error.message)
}

/// `default a b`: `a`, or `b` where `a` is false, empty or absent.
fn default(args: &[&Value]) -> Computed {
    let [value, otherwise] = exactly(args)?;
    Ok(if is_true(value) {
        value.clone()
    } else {
        otherwise.clone()
    })
}

/// `lookup v "key" ..`: what stands under the keys or list indexes, null where there is nothing.
fn lookup(args: &[&Value]) -> Computed {
    let [value, keys @ ..] = args else {
        return Err("expects a value and keys".to_owned());
    };
    let step = |value: &Value, key: &&Value| match key {
        Value::String(key) => value.get(key.as_str()).cloned(),
        Value::Number(index) => value.get(usize::try_from(index.as_u64()?).ok()?).cloned(),
        _ => None,
    };
    let found = keys
        .iter()
        .try_fold((*value).clone(), |value, key| step(&value, key));
    Ok(found.unwrap_or(Value::Null))
}

/// `merge a b ..`: maps laid over each other, the right one winning; null counts as an empty map.
fn merge(args: &[&Value]) -> Computed {
    let mut merged = Value::Object(Map::new());
    for arg in args.iter().filter(|arg| !arg.is_null()) {
        if !arg.is_object() {
            return Err(format!("expects maps, got {arg}"));
        }
        merge_over(&mut merged, (*arg).clone());
    }
    Ok(merged)
}

/// `concat a b ..`: strings, numbers and booleans as one string.
fn concat(args: &[&Value]) -> Computed {
    let parts = args
        .iter()
        .map(|arg| printed(arg))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(parts.concat().into())
}

/// `contains haystack needle`: whether a string holds a string, or a list an element.
fn contains(args: &[&Value]) -> Computed {
    let [haystack, needle] = exactly(args)?;
    Ok(match haystack {
        Value::Null => false,
        Value::Array(list) => list.contains(needle),
        haystack => string(haystack)?.contains(string(needle)?),
    }
    .into())
}

/// `trim s`: the string without white space at its ends.
fn trim(args: &[&Value]) -> Computed {
    let [text] = exactly(args)?;
    Ok(string(text)?.trim().into())
}

/// `chomp s`: the string without the line feeds at its end.
fn chomp(args: &[&Value]) -> Computed {
    let [text] = exactly(args)?;
    Ok(string(text)?.trim_end_matches('\n').into())
}

/// `trimPrefix s prefix`: the string without the prefix, if it has it.
fn trim_prefix(args: &[&Value]) -> Computed {
    let [text, prefix] = exactly(args)?;
    let text = string(text)?;
    Ok(text.strip_prefix(string(prefix)?).unwrap_or(text).into())
}

/// `join list separator`; a null list is an empty one.
fn join(args: &[&Value]) -> Computed {
    let [list, separator] = exactly(args)?;
    let list = match list {
        Value::Null => &[],
        Value::Array(list) => list.as_slice(),
        other => return Err(format!("expects a list, got {other}")),
    };
    let parts = list.iter().map(printed).collect::<Result<Vec<_>, _>>()?;
    Ok(parts.join(string(separator)?).into())
}

/// `split s separator`: the parts of a string as a list.
fn split(args: &[&Value]) -> Computed {
    let [text, separator] = exactly(args)?;
    Ok(string(text)?.split(string(separator)?).collect())
}

/// `dict "key" value ..`: a map.
fn dict(args: &[&Value]) -> Computed {
    let mut map = Map::new();
    for pair in args.chunks(2) {
        let [key, value] = exactly(pair)?;
        map.insert(string(key)?.to_owned(), value.clone());
    }
    Ok(map.into())
}

/// `pick map "key" ..`: the map with these keys only.
fn pick(args: &[&Value]) -> Computed {
    let (mut map, keys) = map_and_keys(args)?;
    map.retain(|key, _| keys.contains(&key.as_str()));
    Ok(map.into())
}

/// `list a ..`: a list of at least one element.
fn list(args: &[&Value]) -> Computed {
    if args.is_empty() {
        return Err("expects an element".to_owned());
    }
    Ok(args.iter().map(|arg| (*arg).clone()).collect())
}

/// `when condition value`: the value, or null where the condition is false, empty or absent.
fn when(args: &[&Value]) -> Computed {
    let [condition, value] = exactly(args)?;
    Ok(if is_true(condition) {
        value.clone()
    } else {
        Value::Null
    })
}

/// `dash a b ..`: the parts that are not empty, with dashes between them, as in `istiod-canary`.
fn dash(args: &[&Value]) -> Computed {
    let parts = args
        .iter()
        .map(|arg| printed(arg))
        .filter(|part| part.as_ref().is_ok_and(|text| !text.is_empty()) || part.is_err())
        .collect::<Result<Vec<_>, _>>()?;
    Ok(parts.join("-").into())
}

/// `texts map`: the map with every scalar as a string, as labels and annotations have to be; null
/// is an empty map.
fn texts(args: &[&Value]) -> Computed {
    let [map] = exactly(args)?;
    let (map, _) = map_and_keys(&[map])?;
    map.into_iter()
        .map(|(key, value)| Ok((key, printed(&value)?.into())))
        .collect::<Result<Map<_, _>, _>>()
        .map(Value::from)
}

/// `number v`: the number that a text writes out, for where the API server wants one; anything else
/// as it is.
///
/// Settings may quote their numbers, and the values that istiod publishes keep the quotes.
fn number(args: &[&Value]) -> Computed {
    let [value] = exactly(args)?;
    let written = value.as_str().and_then(|text| text.parse::<i64>().ok());
    Ok(written.map_or_else(|| (*value).clone(), Value::from))
}

/// `numbers map "key" ..`: the map with what stands under these keys as `number` has it.
fn numbers(args: &[&Value]) -> Computed {
    let (mut map, keys) = map_and_keys(args)?;
    for (_, value) in map
        .iter_mut()
        .filter(|(key, _)| keys.contains(&key.as_str()))
    {
        *value = number(&[value])?;
    }
    Ok(map.into())
}

/// `ipFamily s`: `IPv4` or `IPv6` for what has the form of such an address, otherwise the empty
/// string.
///
/// Upstream looks at the form only, so that an address which no host can have is an address still.
fn ip_family(args: &[&Value]) -> Computed {
    let [text] = exactly(args)?;
    let text = printed(text)?;
    let has_parts = |separator, is_digit: fn(&char) -> bool| {
        text.chars().all(|c| c == separator || is_digit(&c))
    };
    let dots = text.matches('.').count();
    Ok(if dots == 3 && has_parts('.', char::is_ascii_digit) {
        "IPv4"
    } else if text.contains(':') && has_parts(':', char::is_ascii_hexdigit) {
        "IPv6"
    } else {
        ""
    }
    .into())
}

/// `digest v`: sixteen digits that change with the value, so that pods start anew when what they read only once changes.
///
/// It is the hash FNV-1a of the value as JSON, because the same charts have to give the same bytes on every machine.
fn digest(args: &[&Value]) -> Computed {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let [value] = exactly(args)?;
    let bytes = value.to_string().into_bytes().into_iter();
    let hash = bytes.fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    });
    Ok(format!("{hash:016x}").into())
}

fn map_and_keys<'a>(args: &[&'a Value]) -> Result<(Map<String, Value>, Vec<&'a str>), String> {
    let [map, keys @ ..] = args else {
        return Err("expects a map and keys".to_owned());
    };
    let map = match map {
        Value::Null => Map::new(),
        Value::Object(map) => map.clone(),
        other => return Err(format!("expects a map, got {other}")),
    };
    Ok((
        map,
        keys.iter()
            .map(|key| string(key))
            .collect::<Result<_, _>>()?,
    ))
}

fn exactly<'a, const N: usize>(args: &[&'a Value]) -> Result<[&'a Value; N], String> {
    args.try_into()
        .map_err(|_| format!("expects {N} arguments, got {}", args.len()))
}

fn string(value: &Value) -> Result<&str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("expects a string, got {value}"))
}

/// A scalar as Go prints it.
fn printed(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(n) => Ok(n.as_f64().map_or_else(|| n.to_string(), printed_number)),
        Value::Bool(b) => Ok(b.to_string()),
        Value::Null => Ok(String::new()),
        Value::Array(_) | Value::Object(_) => Err(format!("expects a scalar, got {value}")),
    }
}

/// A number as Go prints a float64, which every number is that upstream's templates see: the fewest
/// digits that tell it, with an exponent from a million up and below a ten-thousandth.
fn printed_number(number: f64) -> String {
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    match exponent.parse::<i32>() {
        Ok(-4..=5) => number.to_string(),
        Ok(exponent) if exponent < 0 => format!("{digits}e-{:02}", -exponent),
        Ok(exponent) => format!("{digits}e+{exponent:02}"),
        Err(_) => scientific,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn call(name: &str, args: &Value) -> Computed {
        let function = FUNCTIONS.iter().find(|f| f.name == name).unwrap();
        (function.call)(&args.as_array().unwrap().iter().collect::<Vec<_>>())
    }

    #[test]
    fn functions_compute() {
        let cases = [
            (
                "json",
                json!([{"b": 1, "a": [null]}]),
                json!("{\"a\":[null],\"b\":1}"),
            ),
            (
                "toYaml",
                json!([{"b": "1", "a": [true]}]),
                json!("a:\n- true\nb: \"1\"\n"),
            ),
            (
                "toPrettyJson",
                json!([{"b": [], "a": ["<&>"]}]),
                json!("{\n  \"a\": [\n    \"\\u003c\\u0026\\u003e\"\n  ],\n  \"b\": []\n}"),
            ),
            ("fromYaml", json!(["a: [1]\n"]), json!({"a": [1]})),
            ("default", json!([0, 5]), json!(5)),
            ("default", json!(["x", 5]), json!("x")),
            ("lookup", json!([{"a": {"b": [7]}}, "a", "b", 0]), json!(7)),
            ("lookup", json!([{"a": 1}, "b", "c"]), json!(null)),
            (
                "merge",
                json!([{"a": {"b": 1}}, null, {"a": {"b": 2, "c": 3}}]),
                json!({"a": {"b": 2, "c": 3}}),
            ),
            ("concat", json!(["a", 1, true, null]), json!("a1true")),
            ("digest", json!([1]), json!("af63ac4c86019afc")),
            ("concat", json!([1.0, " ", -2.5]), json!("1 -2.5")),
            (
                "concat",
                json!([999_999, " ", 1_000_000]),
                json!("999999 1e+06"),
            ),
            (
                "concat",
                json!([1.25e21, " ", 1.5e-7]),
                json!("1.25e+21 1.5e-07"),
            ),
            ("concat", json!([0.0001, " ", 0]), json!("0.0001 0")),
            ("contains", json!(["abc", "b"]), json!(true)),
            ("contains", json!([["a", "b"], "c"]), json!(false)),
            ("trim", json!([" a b\n"]), json!("a b")),
            ("chomp", json!([" a \n\n"]), json!(" a ")),
            ("trimPrefix", json!(["abc", "ab"]), json!("c")),
            ("join", json!([["a", 1], ","]), json!("a,1")),
            ("split", json!(["a,b", ","]), json!(["a", "b"])),
            ("dict", json!(["a", 1, "b", [2]]), json!({"a": 1, "b": [2]})),
            ("pick", json!([{"a": 1, "b": 2}, "a", "c"]), json!({"a": 1})),
            ("list", json!([1, "a"]), json!([1, "a"])),
            ("when", json!([[0], "a"]), json!("a")),
            ("when", json!(["", "a"]), json!(null)),
            ("dash", json!(["a", "", null, 1]), json!("a-1")),
            (
                "texts",
                json!([{"a": 1, "b": true, "c": "x", "d": null}]),
                json!({"a": "1", "b": "true", "c": "x", "d": ""}),
            ),
            ("texts", json!([null]), json!({})),
            ("ipFamily", json!(["192.0.2.10"]), json!("IPv4")),
            ("number", json!(["30"]), json!(30)),
            ("number", json!(["25%"]), json!("25%")),
            ("number", json!([null]), json!(null)),
            (
                "numbers",
                json!([{"port": "80", "name": "5"}, "port", "nodePort"]),
                json!({"port": 80, "name": "5"}),
            ),
            ("ipFamily", json!(["2001:db8::A"]), json!("IPv6")),
            ("ipFamily", json!(["istiod.example"]), json!("")),
            ("ipFamily", json!(["1.2.3"]), json!("")),
        ];
        for (name, args, expected) in cases {
            assert_eq!(call(name, &args), Ok(expected), "{name} {args}");
        }
    }

    #[test]
    fn wrong_arguments_are_errors() {
        let cases = [
            ("json", json!([1, 2])),
            ("merge", json!(["a"])),
            ("dict", json!(["a"])),
            ("dict", json!([1, 2])),
            ("join", json!(["a", ","])),
            ("contains", json!([1, "a"])),
            ("concat", json!([[1]])),
            ("pick", json!([])),
            ("texts", json!([{"a": {}}])),
            ("dash", json!(["a", []])),
            ("numbers", json!([4, "a"])),
            ("ipFamily", json!([[4]])),
        ];
        for (name, args) in cases {
            assert!(call(name, &args).is_err(), "{name} {args}");
        }
    }
}
