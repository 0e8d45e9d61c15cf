//! Nearest spelling of a word that nobody knows.

/// The candidate most like `word`, if any is like it at all: at most a third of its letters differ.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.len() / 3).max(1);
    candidates
        .filter(|candidate| *candidate != word)
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_mended_and_nonsense_is_not() {
        let known = ["refresh-us", "refresh-ms", "depth"];
        assert_eq!(nearest("refesh-us", known.into_iter()), Some("refresh-us"));
        assert_eq!(nearest("colour", known.into_iter()), None);
    }
}
