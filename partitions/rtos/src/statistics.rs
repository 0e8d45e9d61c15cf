//! Release jitter of a second's periods.

/// Least, middle and greatest of a set of samples, in the samples' unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Least sample.
    pub min: u32,
    /// Middle sample; the upper one of two.
    pub median: u32,
    /// Greatest sample.
    pub max: u32,
}

/// The spread of `samples`, which are reordered; `None` if there are none.
pub fn spread(samples: &mut [u32]) -> Option<Spread> {
    let min = *samples.iter().min()?;
    let max = *samples.iter().max()?;
    let middle = samples.len() / 2;
    let (_, &mut median, _) = samples.select_nth_unstable(middle);
    Some(Spread { min, median, max })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_has_no_spread() {
        assert_eq!(spread(&mut []), None);
    }

    proptest! {
        #[test]
        fn agrees_with_sorting(mut samples in proptest::collection::vec(any::<u32>(), 1..200)) {
            let mut sorted = samples.clone();
            sorted.sort_unstable();
            let expected = Spread {
                min: sorted[0],
                median: sorted[sorted.len() / 2],
                max: sorted[sorted.len() - 1],
            };
            prop_assert_eq!(spread(&mut samples), Some(expected));
        }
    }
}
