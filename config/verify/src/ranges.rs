//! Ranges of addresses, half open, and sets of them.

use serde::Serialize;

/// Granule of all tables, bytes.
pub const PAGE: u64 = bulkhead_abi::PAGE_BYTES;

/// Addresses from `start` up to, not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
}

impl Range {
    /// `bytes` from `start` on; what would pass the last address ends there.
    #[must_use]
    pub fn of(start: u64, bytes: u64) -> Range {
        Range { start, end: start.saturating_add(bytes) }
    }

    /// Length in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it has no address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Whether all of `other` lies inside.
    #[must_use]
    pub fn contains(&self, other: &Range) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Whether they have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Range) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The pages that it touches.
    #[must_use]
    pub fn to_pages(self) -> Range {
        Range {
            start: self.start & !(PAGE - 1),
            end: self.end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX),
        }
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start, self.end)
    }
}

impl From<bulkhead_blueprint::layout::Range> for Range {
    fn from(range: bulkhead_blueprint::layout::Range) -> Range {
        Range::of(range.base, range.bytes)
    }
}

/// Sorted, with neighbours that touch or overlap made one.
#[must_use]
pub fn union(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.retain(|r| !r.is_empty());
    ranges.sort_unstable();
    let mut out: Vec<Range> = Vec::with_capacity(ranges.len().min(1024));
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

/// What of `all` lies in none of `taken`; both as [`union`] leaves them.
#[must_use]
pub fn minus(all: &[Range], taken: &[Range]) -> Vec<Range> {
    let mut out = Vec::new();
    let mut next = 0;
    for range in all {
        let mut at = range.start;
        while next < taken.len() && taken[next].end <= at {
            next += 1;
        }
        let mut cursor = next;
        while cursor < taken.len() && taken[cursor].start < range.end {
            if at < taken[cursor].start {
                out.push(Range { start: at, end: taken[cursor].start });
            }
            at = at.max(taken[cursor].end);
            cursor += 1;
        }
        if at < range.end {
            out.push(Range { start: at, end: range.end });
        }
    }
    out
}

/// Whether all of `range` lies in `set`, as [`union`] leaves it.
#[must_use]
pub fn holds(set: &[Range], range: Range) -> bool {
    let index = set.partition_point(|r| r.start <= range.start);
    index.checked_sub(1).is_some_and(|i| set[i].contains(&range))
}

/// Whether some address of `range` lies in `set`, as [`union`] leaves it.
#[must_use]
pub fn touches(set: &[Range], range: Range) -> bool {
    let index = set.partition_point(|r| r.end <= range.start);
    set.get(index).is_some_and(|r| r.overlaps(&range))
}

/// A list for a message.
#[must_use]
pub fn show(list: &[Range]) -> String {
    const SHOWN: usize = 8;
    let mut words: Vec<String> = list.iter().take(SHOWN).map(ToString::to_string).collect();
    if list.len() > SHOWN {
        words.push(format!("{} more", list.len() - SHOWN));
    }
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

/// The first pair of a list that has an address in common, by position in the list; `None` if all are apart.
#[must_use]
pub fn first_overlap(ranges: &[Range]) -> Option<(usize, usize)> {
    let mut order: Vec<usize> = (0..ranges.len()).filter(|i| !ranges[*i].is_empty()).collect();
    order.sort_unstable_by_key(|i| ranges[*i]);
    let mut last: Option<usize> = None;
    for index in order {
        if let Some(previous) = last
            && ranges[index].start < ranges[previous].end
        {
            return Some((previous, index));
        }
        if last.is_none_or(|l| ranges[l].end <= ranges[index].end) {
            last = Some(index);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cells(ranges: &[Range]) -> Vec<u64> {
        (0..200).filter(|c| ranges.iter().any(|r| r.contains(&Range::of(*c, 1)))).collect()
    }

    fn list() -> impl Strategy<Value = Vec<Range>> {
        prop::collection::vec((0u64..150, 0u64..30).prop_map(|(s, n)| Range::of(s, n)), 0..12)
    }

    proptest! {
        #[test]
        fn sets_agree_with_counting_cells(a in list(), b in list()) {
            let (ua, ub) = (union(a.clone()), union(b.clone()));
            prop_assert_eq!(cells(&ua), cells(&a));
            prop_assert!(ua.windows(2).all(|w| w[0].end < w[1].start));
            let left: Vec<u64> = cells(&a).into_iter().filter(|c| !cells(&b).contains(c)).collect();
            prop_assert_eq!(cells(&minus(&ua, &ub)), left);
            let meets = a.iter().enumerate().any(|(i, x)| a[i + 1..].iter().any(|y| !x.is_empty() && !y.is_empty() && x.overlaps(y)));
            for probe in &b {
                let inside = (probe.start..probe.end).all(|c| cells(&a).contains(&c));
                prop_assert!(probe.is_empty() || holds(&ua, *probe) == inside);
                let meets = (probe.start..probe.end).any(|c| cells(&a).contains(&c));
                prop_assert!(probe.is_empty() || touches(&ua, *probe) == meets);
            }
            prop_assert_eq!(first_overlap(&a).is_some(), meets);
        }
    }
}
