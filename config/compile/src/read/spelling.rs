//! Nearest spelling of a word that nobody knows.

/// What our properties begin with in a node of another binding, and only there.
const PREFIX: &str = "bulkhead,";

/// The candidate most like `word`, if any is like it at all: the same but for our prefix, capitals or a missing unit, or
/// at most a third of its letters differ.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.len() / 3).max(1);
    let candidates: Vec<&str> = candidates.collect();
    let bare = |text: &'a str| text.strip_prefix(PREFIX).unwrap_or(text);
    let own = word.strip_prefix(PREFIX).unwrap_or(word);
    let is = |c: &'a str| {
        let rest = bare(c).get(own.len()..).unwrap_or_default();
        let begins = bare(c).get(..own.len()).is_some_and(|head| head.eq_ignore_ascii_case(own));
        begins && (rest.is_empty() || rest == "-us")
    };
    let same = candidates.iter().copied().find(|c| *c != word && is(c));
    same.or_else(|| closest(word, allowed, candidates.into_iter()))
}

fn closest<'a>(word: &str, allowed: usize, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
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
        let known = ["bulkhead,image", "memory", "bulkhead,dtb"];
        assert_eq!(nearest("image", known.into_iter()), Some("bulkhead,image"));
        assert_eq!(nearest("bulkhead,memory", known.into_iter()), Some("memory"));
        let known = ["QM", "ASIL-A", "ASIL-D", "max-age-ms", "max-age-us"];
        assert_eq!(nearest("asil-d", known.into_iter()), Some("ASIL-D"));
        assert_eq!(nearest("max-age", known.into_iter()), Some("max-age-us"));
    }
}
