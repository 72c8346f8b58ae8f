//! The page about the book.

use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::{Calls, HTML, READER, Reply};

/// The only book there is.
const BOOK: &str = "0";

/// The page. What a service does not answer is a sentence on it, because the rest can be read.
pub(super) async fn html(calls: &Calls, headers: &HeaderMap) -> Reply {
    let (details, reviews) = tokio::join!(
        calls.ask(headers, "details", BOOK),
        calls.ask(headers, "reviews", BOOK)
    );
    let reader = headers.get(READER).and_then(|reader| reader.to_str().ok());
    let page = format!(
        "<!doctype html>
<html lang=\"en\">
<title>A book</title>
<p>Reader: {}</p>
<h1>Details</h1>
{}
<h1>Reviews</h1>
{}
</html>
",
        escaped(reader.unwrap_or("nobody we know")),
        section(details, details_html),
        section(reviews, reviews_html),
    );
    (StatusCode::OK, HTML, page)
}

fn section(
    answer: Result<Value, (StatusCode, String)>,
    shown: impl Fn(&Value) -> String,
) -> String {
    match answer {
        Ok(answer) => shown(&answer),
        Err((_, why)) => format!("<p class=\"error\">Not available ({}).</p>", escaped(&why)),
    }
}

fn details_html(details: &Value) -> String {
    let fields = ["title", "author", "year", "pages", "publisher", "language"];
    let fields = fields.map(|field| format!("<li>{field}: {}</li>", text(&details[field])));
    format!("<ul>{}</ul>", fields.concat())
}

fn reviews_html(reviews: &Value) -> String {
    let each = reviews["reviews"].as_array().into_iter().flatten();
    let each = each.map(|review| {
        let rating = &review["rating"];
        let shown = if rating.is_null() {
            String::new()
        } else if rating["error"].is_null() {
            let stars = rating["stars"].as_u64().unwrap_or_default().min(5);
            let color = text(&rating["color"]);
            let stars = "★".repeat(usize::try_from(stars).unwrap_or_default());
            format!(" <span style=\"color:{color}\">{stars}</span>")
        } else {
            let why = text(&rating["error"]);
            format!(" <span class=\"error\">No stars ({why}).</span>")
        };
        let (who, what) = (text(&review["reviewer"]), text(&review["text"]));
        format!("<blockquote>{what} <cite>{who}</cite>{shown}</blockquote>\n")
    });
    let each: String = each.collect();
    format!(
        "{each}<p>Told by {}, {}.</p>",
        text(&reviews["pod"]),
        text(&reviews["version"])
    )
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => escaped(text),
        other => escaped(&other.to_string()),
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}
