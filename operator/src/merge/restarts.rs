//! `spec.updateStrategy.dataPlane`: whether, where and when workloads are restarted.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use serde::Deserialize;
use serde_json::Value;

use crate::api::format::minute_of_day;
use crate::charts::tree::at;

/// How many workloads are restarted at once, unless the CR says otherwise.
const MAX_PARALLEL: usize = 3;
const DAY: u16 = 24 * 60;

/// How workloads with older proxies are restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartSettings {
    /// The label selector of their namespaces, as the API takes it.
    pub namespaces: String,
    /// How many are restarted at once.
    pub max_parallel: usize,
    /// When they may begin; at any time if there is none.
    windows: Vec<Window>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    /// The days on which it begins.
    days: Vec<Weekday>,
    /// Its first minute of the day.
    from: u16,
    /// The minute in which it ends; of the next day if it is not after `from`.
    to: u16,
    zone: TimeZone,
}

impl RestartSettings {
    /// Reads the spec of a CR; none if it asks for no restarts. [`check`] tells what is wrong with it.
    #[must_use]
    pub fn of(spec: &Value) -> Option<Self> {
        let settings = at(spec, &["updateStrategy", "dataPlane"])?;
        if settings["restart"] != "Rolling" {
            return None;
        }
        let selector = LabelSelector::deserialize(&settings["namespaceSelector"]).ok()?;
        let max_parallel = settings["maxParallel"].as_u64();
        let max_parallel = max_parallel.and_then(|number| usize::try_from(number).ok());
        let windows = settings["windows"].as_array().into_iter().flatten();
        Some(Self {
            namespaces: selector_text(&selector)?,
            max_parallel: max_parallel.unwrap_or(MAX_PARALLEL).max(1),
            windows: windows.map(Window::read).collect::<Option<_>>()?,
        })
    }

    /// Whether a restart may begin now.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.windows.is_empty() || self.windows.iter().any(|window| window.is_open(now))
    }
}

impl Window {
    fn read(window: &Value) -> Option<Self> {
        let minute = |key: &str| match &window[key] {
            Value::Null => Some(0),
            text => minute_of_day(text.as_str()?),
        };
        let days = match &window["days"] {
            Value::Array(days) => days.iter().map(weekday).collect::<Option<_>>()?,
            _ => Weekday::Monday.cycle_forward().take(7).collect(),
        };
        let zone = window["timeZone"].as_str().unwrap_or("UTC");
        Some(Self {
            days,
            from: minute("from")?,
            to: minute("to")?,
            zone: TimeZone::get(zone).ok()?,
        })
    }

    fn is_open(&self, now: Timestamp) -> bool {
        let now = now.to_zoned(self.zone.clone());
        let number = |part: i8| u16::try_from(part).unwrap_or_default();
        let minute = number(now.hour()) * 60 + number(now.minute());
        let begins_on = |day: Weekday| self.days.contains(&day);
        let today = now.weekday();
        if self.from < self.to {
            return begins_on(today) && (self.from..self.to).contains(&minute);
        }
        (begins_on(today) && (self.from..DAY).contains(&minute))
            || (begins_on(today.previous()) && minute < self.to)
    }
}

fn weekday(day: &Value) -> Option<Weekday> {
    Some(match day.as_str()? {
        "Mon" => Weekday::Monday,
        "Tue" => Weekday::Tuesday,
        "Wed" => Weekday::Wednesday,
        "Thu" => Weekday::Thursday,
        "Fri" => Weekday::Friday,
        "Sat" => Weekday::Saturday,
        "Sun" => Weekday::Sunday,
        _ => return None,
    })
}

/// The selector as the API takes it; none if it is none that Kubernetes knows.
fn selector_text(selector: &LabelSelector) -> Option<String> {
    let labels = selector.match_labels.iter().flatten();
    let labels = labels.map(|(key, value)| Some(format!("{key}={value}")));
    let requirements = selector.match_expressions.iter().flatten();
    let texts: Option<Vec<_>> = labels.chain(requirements.map(requirement_text)).collect();
    Some(texts?.join(","))
}

fn requirement_text(requirement: &LabelSelectorRequirement) -> Option<String> {
    let LabelSelectorRequirement {
        key,
        operator,
        values,
    } = requirement;
    let values = values.as_deref().unwrap_or_default().join(",");
    match (operator.as_str(), values.is_empty()) {
        ("In", false) => Some(format!("{key} in ({values})")),
        ("NotIn", false) => Some(format!("{key} notin ({values})")),
        ("Exists", true) => Some(key.clone()),
        ("DoesNotExist", true) => Some(format!("!{key}")),
        _ => None,
    }
}

/// What is wrong with the settings of a spec, by the field below `updateStrategy.dataPlane`.
pub(super) fn check(spec: &Value) -> Option<(&'static str, String)> {
    let settings = at(spec, &["updateStrategy", "dataPlane"])?;
    if settings["restart"] != "Rolling" {
        return None;
    }
    if settings["namespaceSelector"].is_null() {
        let problem = "is needed: {} selects every namespace with a proxy";
        return Some(("namespaceSelector", problem.to_owned()));
    }
    let selector = LabelSelector::deserialize(&settings["namespaceSelector"]);
    if selector.is_ok_and(|selector| selector_text(&selector).is_none()) {
        let problem = "operators are In and NotIn with values, and Exists and DoesNotExist without";
        return Some(("namespaceSelector", problem.to_owned()));
    }
    let mut windows = settings["windows"].as_array().into_iter().flatten();
    let wrong = windows.find(|window| Window::read(window).is_none())?;
    Some((
        "windows",
        format!("{wrong} is no window: its time zone may be none"),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(windows: &Value) -> Option<RestartSettings> {
        let data_plane = json!({
            "restart": "Rolling",
            "namespaceSelector": {"matchLabels": {"team": "a"}},
            "windows": windows,
        });
        RestartSettings::of(&json!({"updateStrategy": {"dataPlane": data_plane}}))
    }

    #[test]
    fn windows_open_in_their_time_zone_and_reach_into_the_next_day() {
        // 2026-03-28 is a Saturday; in the night that follows, clocks in Berlin go forward.
        let night =
            json!([{"days": ["Sat"], "from": "22:00", "to": "04:00", "timeZone": "Europe/Berlin"}]);
        let night = settings(&night).unwrap();
        for (now, is_open) in [
            ("2026-03-28T20:59:00Z", false),
            ("2026-03-28T21:00:00Z", true),
            ("2026-03-29T01:59:00Z", true),
            ("2026-03-29T02:00:00Z", false),
            ("2026-03-29T21:00:00Z", false),
            ("2026-03-27T22:00:00Z", false),
        ] {
            assert_eq!(night.is_open(now.parse().unwrap()), is_open, "{now}");
        }
        let day = settings(&json!([{"from": "09:00", "to": "17:00"}])).unwrap();
        assert!(day.is_open("2026-03-28T09:00:00Z".parse().unwrap()));
        assert!(!day.is_open("2026-03-28T17:00:00Z".parse().unwrap()));
        let always = settings(&json!([])).unwrap();
        assert!(always.is_open("2026-03-28T03:00:00Z".parse().unwrap()));
        assert_eq!(always.max_parallel, 3);
        assert_eq!(always.namespaces, "team=a");
    }

    #[test]
    fn a_selector_is_handed_on_as_the_api_takes_it() {
        let text = |selector: Value| selector_text(&serde_json::from_value(selector).unwrap());
        let expression = |operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": "k", "operator": operator, "values": values}]});
        assert_eq!(text(json!({})).unwrap(), "");
        let both = json!({"matchLabels": {"a": "1", "b": "2"}});
        assert_eq!(text(both).unwrap(), "a=1,b=2");
        assert_eq!(text(expression("In", &["x", "y"])).unwrap(), "k in (x,y)");
        assert_eq!(text(expression("NotIn", &["x"])).unwrap(), "k notin (x)");
        assert_eq!(text(expression("Exists", &[])).unwrap(), "k");
        assert_eq!(text(expression("DoesNotExist", &[])).unwrap(), "!k");
        assert_eq!(text(expression("In", &[])), None);
        assert_eq!(text(expression("Near", &["x"])), None);
    }

    #[test]
    fn wrong_settings_are_told_by_their_field() {
        let wrong = |settings: &Value| {
            let found = check(&json!({"updateStrategy": {"dataPlane": settings}}));
            found.map(|(field, _)| field)
        };
        assert_eq!(wrong(&json!({"restart": "None"})), None);
        assert_eq!(
            wrong(&json!({"restart": "Rolling"})),
            Some("namespaceSelector")
        );
        let selector = json!({"matchExpressions": [{"key": "k", "operator": "Near"}]});
        let near = json!({"restart": "Rolling", "namespaceSelector": selector});
        assert_eq!(wrong(&near), Some("namespaceSelector"));
        let mut good = json!({"restart": "Rolling", "namespaceSelector": {}});
        assert_eq!(wrong(&good), None);
        good["windows"] = json!([{"from": "22:00", "to": "04:00", "timeZone": "Mars/Olympus"}]);
        assert_eq!(wrong(&good), Some("windows"));
    }
}
