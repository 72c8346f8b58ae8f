//! Words that many records share, each kept once.

use std::collections::HashSet;
use std::sync::Arc;

/// A word that many records share, such as a revision or a namespace.
pub type Word = Arc<str>;

/// The words in use.
#[derive(Clone, Debug, Default)]
pub struct Words(HashSet<Word>);

/// How many words there may be before those that nobody uses any more are dropped.
const CROWDED: usize = 1024;

impl Words {
    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The one copy of a word.
    pub fn word(&mut self, text: &str) -> Word {
        if let Some(word) = self.0.get(text) {
            return Arc::clone(word);
        }
        if self.0.len() >= CROWDED && self.0.len().is_power_of_two() {
            self.0.retain(|word| Arc::strong_count(word) > 1);
        }
        let word = Word::from(text);
        self.0.insert(Arc::clone(&word));
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_nobody_uses_are_dropped() {
        let mut words = Words::default();
        let used = words.word("used");
        for number in 0..10 * CROWDED {
            words.word(&number.to_string());
        }
        assert!(words.0.len() <= 2 * CROWDED);
        assert!(Arc::ptr_eq(&used, &words.word("used")));
    }
}
