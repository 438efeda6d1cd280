//! Words of a component on their way to people: bounded, and without what a terminal or a log would obey.

use std::borrow::Cow;

/// At most `bytes_max` bytes of it. Control characters become spaces, but for line ends when they separate frames.
pub(crate) fn clean(text: &str, bytes_max: usize) -> String {
    let shown = cut(text, bytes_max);
    if shown.chars().any(char::is_control) {
        shown.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
    } else {
        shown.into_owned()
    }
}

/// At most `bytes_max` bytes of it, ending between two characters, with `…` where something is missing.
pub(crate) fn cut(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let end = (0..=bytes_max.saturating_sub('…'.len_utf8())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    Cow::Owned(format!("{}…", &text[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters_and_obey_no_one() {
        assert_eq!(clean("plain é", 100), "plain é");
        assert_eq!(clean("a\x1b[31m\nb\u{9b}c", 100), "a [31m b c");
        assert_eq!(clean("ééé", 6), "ééé");
        assert_eq!(clean("éééé", 6), "é…");
        assert_eq!(clean("abcdefgh", 6), "abc…");
        assert_eq!(clean("abcdefgh", 1), "…");
    }
}
