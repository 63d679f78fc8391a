//! Texts of events.

/// The longest prefix of a text with at most `max_bytes` that does not split a character.
pub fn cut(text: &str, max_bytes: usize) -> &str {
    if text.len() <= max_bytes {
        return text;
    }
    (0..=max_bytes).rev().find_map(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!((cut("aé", 3), cut("aé", 2), cut("é", 1), cut("abc", 0)), ("aé", "a", "", ""));
    }
}
