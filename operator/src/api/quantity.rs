//! Kubernetes quantities: `100m`, `1.5`, `2Gi`, `1e3`.

use serde_json::Value;

/// A quantity, exact to a nano unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quantity {
    /// The amount in units of 10⁻⁹, rounded away from zero.
    nano: i128,
    format: Format,
}

/// The kind of suffix that a quantity was written with, which its canonical form keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

const NANO: i128 = 1_000_000_000;
const DECIMAL: [(&str, i32); 10] = [
    ("E", 18),
    ("P", 15),
    ("T", 12),
    ("G", 9),
    ("M", 6),
    ("k", 3),
    ("", 0),
    ("m", -3),
    ("u", -6),
    ("n", -9),
];
const BINARY: [(&str, u32); 6] = [
    ("Ei", 60),
    ("Pi", 50),
    ("Ti", 40),
    ("Gi", 30),
    ("Mi", 20),
    ("Ki", 10),
];

/// Whether a JSON value is a quantity: a number, or a string in the grammar of Kubernetes.
pub(super) fn is_quantity(value: &Value) -> bool {
    parse_value(value).is_some()
}

/// A quantity in Kubernetes' canonical form, such as `2` for `2000m`; none for zero and for a value that is not a quantity.
pub(crate) fn canonical(value: &Value) -> Option<String> {
    let quantity = parse_value(value)?;
    (quantity.nano != 0).then(|| write(quantity))
}

/// The amount of a quantity in units of 10⁻⁹; none for a value that is not a quantity.
pub(crate) fn amount(value: &Value) -> Option<i128> {
    parse_value(value).map(|quantity| quantity.nano)
}

/// Whether two values are the same quantity, however they are written.
#[must_use]
pub fn is_same_quantity(one: &Value, other: &Value) -> bool {
    amount(one).is_some_and(|amount| self::amount(other) == Some(amount))
}

fn parse_value(value: &Value) -> Option<Quantity> {
    match value {
        Value::Number(number) => parse(&number.to_string()),
        Value::String(text) => parse(text.trim()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn parse(text: &str) -> Option<Quantity> {
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = unsigned.find(|c| !digits(c)).unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') {
        return None;
    }
    let (format, factor, exponent) = scale(suffix)?;
    // Only rounding depends on further digits, except of amounts that are far beyond what anyone requests.
    let fraction: String = fraction.chars().take(18).collect();
    let mantissa: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let places = exponent.saturating_add(9 - i32::try_from(fraction.len()).ok()?);
    let nano = shifted(mantissa.checked_mul(factor)?, places);
    let nano = if text.starts_with('-') { -nano } else { nano };
    Some(Quantity { nano, format })
}

/// The format, factor and power of ten of a suffix.
fn scale(suffix: &str) -> Option<(Format, i128, i32)> {
    if let Some((_, bits)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Some((Format::Binary, 1 << bits, 0));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((Format::Decimal, 1, *exponent));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some((Format::Exponent, 1, exponent))
}

/// `number` × 10^`places`, rounded up, with the same maximum as in Kubernetes.
fn shifted(number: i128, places: i32) -> i128 {
    const CAP: i128 = i64::MAX as i128 * NANO;
    let power = 10_i128.checked_pow(places.unsigned_abs());
    if places >= 0 {
        let product = power.and_then(|power| number.checked_mul(power));
        return product.map_or(CAP, |product| product.min(CAP));
    }
    match power {
        Some(power) => (number / power + i128::from(number % power > 0)).min(CAP),
        None => i128::from(number > 0),
    }
}

fn write(quantity: Quantity) -> String {
    let Quantity { nano, format } = quantity;
    if format == Format::Binary && nano.abs() >= 1024 * NANO && nano % NANO == 0 {
        let amount = nano / NANO;
        let unit = BINARY.iter().find(|(_, bits)| amount % (1 << bits) == 0);
        return match unit {
            Some((name, bits)) => format!("{}{name}", amount >> bits),
            None => amount.to_string(),
        };
    }
    let unit = DECIMAL.iter().find_map(|(name, exponent)| {
        let size = 10_i128.checked_pow(u32::try_from(exponent + 9).ok()?)?;
        (nano % size == 0).then_some((name, exponent, size))
    });
    match unit {
        Some((_, exponent, size)) if format == Format::Exponent && *exponent != 0 => {
            format!("{}e{exponent}", nano / size)
        }
        Some((name, _, size)) => format!("{}{name}", nano / size),
        None => format!("{nano}n"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_have_the_canonical_form_of_kubernetes() {
        for (written, canonical_) in [
            (json!("2000m"), "2"),
            (json!("0.1"), "100m"),
            (json!(1.5), "1500m"),
            (json!(2), "2"),
            (json!("1000"), "1k"),
            (json!("+2"), "2"),
            (json!("1Gi"), "1Gi"),
            (json!("1024Ki"), "1Mi"),
            (json!("1.5Gi"), "1536Mi"),
            (json!("0.5Ki"), "512"),
            (json!("1e3"), "1e3"),
            (json!("1E"), "1E"),
            (json!("100u"), "100u"),
            (json!(".5"), "500m"),
            (json!("5."), "5"),
            (json!("1.5n"), "2n"),
        ] {
            assert_eq!(
                canonical(&written).as_deref(),
                Some(canonical_),
                "{written}"
            );
        }
        assert_eq!(canonical(&json!("0m")), None);
    }

    #[test]
    fn other_texts_are_no_quantities() {
        for text in [
            "", "lots", "1x", "1 Gi", "1.2.3", ".", "m", "--1", "1mi", "1e", "e3", "0x1f", "1K",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        for huge in [
            json!("1e400"),
            json!("9999999999999999999999E"),
            json!("1e-400"),
            json!("1e2147483647"),
            json!("1.5e-2147483648"),
            json!("170141183460469231731687303715884105727e-11"),
        ] {
            assert!(parse_value(&huge).is_some(), "{huge}");
        }
    }
}
