//! Members of the system by their index. There are as many as it has; any other index finds one that
//! stands for nobody, never a member.

/// At most `N - 1` members. An access is a comparison and a load, without a branch.
pub struct Roster<T: 'static, const N: usize>([&'static T; N]);

impl<T, const N: usize> Roster<T, N> {
    /// Of these members, in their order; every other index finds `nobody`. Of more than `N - 1` members the first
    /// `N - 1`.
    #[must_use]
    pub fn of(members: &'static [T], nobody: &'static T) -> Self {
        let member = |n| members.get(n).filter(|_| n < N - 1);
        Self(core::array::from_fn(|n| member(n).unwrap_or(nobody)))
    }

    /// The member with this index.
    #[inline(always)]
    #[must_use]
    pub fn get(&self, index: u32) -> &'static T {
        const { assert!(N != 0 && N <= u32::MAX as usize, "the last stands for nobody") }
        self.0[(index as usize).min(N - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static MEMBERS: [u32; 5] = [10, 11, 12, 13, 14];
    static NOBODY: u32 = 99;

    #[test]
    fn an_index_beyond_the_members_finds_nobody_and_never_a_member() {
        for count in 0..=4 {
            let roster = Roster::<u32, 5>::of(&MEMBERS[..count], &NOBODY);
            let indices = (0..40).chain((0..32).map(|bit| 1 << bit)).chain(u32::MAX - 40..=u32::MAX);
            for index in indices {
                let expected = if (index as usize) < count { 10 + index } else { NOBODY };
                assert_eq!(*roster.get(index), expected, "{count} members, index {index:#x}");
            }
        }
    }

    #[test]
    fn more_members_than_places_leave_the_last_place_to_nobody() {
        let roster = Roster::<u32, 5>::of(&MEMBERS, &NOBODY);
        assert_eq!((*roster.get(3), *roster.get(4), *roster.get(5)), (13, NOBODY, NOBODY));
    }
}
