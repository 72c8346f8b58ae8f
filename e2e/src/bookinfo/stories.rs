//! What the services know.

use serde_json::{Value, json};

use super::Version;

/// The readers and what they say.
const REVIEWS: [(&str, &str); 2] = [
    (
        "ada",
        "A whole country without a third dimension, and I never missed it until the sphere came.",
    ),
    (
        "grace",
        "Short, odd, and still the best introduction to looking at things from outside.",
    ),
];

/// How many stars they give.
const STARS: [u8; 2] = [5, 4];

/// What is printed on the book.
pub(super) fn details(id: &str) -> Value {
    json!({
        "id": id,
        "title": "Flatland",
        "author": "Edwin A. Abbott",
        "year": 1884,
        "pages": 100,
        "publisher": "Seeley",
        "language": "English",
    })
}

/// The stars of every reader.
pub(super) fn ratings(id: &str) -> Value {
    let stars = REVIEWS.iter().zip(STARS);
    let stars = stars.map(|((reader, _), stars)| ((*reader).to_owned(), stars.into()));
    json!({"id": id, "ratings": Value::Object(stars.collect())})
}

/// What the readers say, with their stars in this color if the version has stars.
pub(super) fn reviews(
    id: &str,
    version: Version,
    pod: &str,
    ratings: Option<&(&str, Result<Value, String>)>,
) -> Value {
    let reviews = REVIEWS.iter().map(|(reader, text)| {
        let mut review = json!({"reviewer": reader, "text": text});
        match ratings {
            None => {}
            Some((color, Ok(ratings))) => {
                let stars = &ratings["ratings"][reader];
                review["rating"] = json!({"stars": stars, "color": color});
            }
            Some((_, Err(why))) => review["rating"] = json!({"error": why}),
        }
        review
    });
    let reviews: Vec<_> = reviews.collect();
    json!({"id": id, "version": version.name(), "pod": pod, "reviews": reviews})
}
