//! A set of write ids, kept as ranges: clients count upwards, so that hours of writes stay a few numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A set of write ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteSet {
    /// First id to last id of each range; ranges neither touch nor overlap.
    ranges: BTreeMap<u64, u64>,
}

impl WriteSet {
    /// Adds an id. False if it was there.
    pub fn insert(&mut self, id: u64) -> bool {
        if self.contains(id) {
            return false;
        }
        self.insert_range(id, id);
        true
    }

    /// Adds all ids of another set.
    pub fn extend(&mut self, other: &Self) {
        for (first, last) in &other.ranges {
            self.insert_range(*first, *last);
        }
    }

    /// Whether the id is there.
    pub fn contains(&self, id: u64) -> bool {
        self.ranges.range(..=id).next_back().is_some_and(|(_, last)| *last >= id)
    }

    /// How many ids there are.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// The ids of this set that are not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut rest = Self::default();
        for (first, last) in &self.ranges {
            let mut from = Some(*first);
            let reaching_in = other.ranges.range(..first).next_back();
            for (hole_first, hole_last) in reaching_in.into_iter().chain(other.ranges.range(first..=last)) {
                let Some(start) = from else { break };
                if *hole_last < start {
                    continue;
                }
                if *hole_first > start {
                    rest.ranges.insert(start, hole_first - 1);
                }
                from = if *hole_last < *last { Some(hole_last + 1) } else { None };
            }
            if let Some(start) = from {
                rest.ranges.insert(start, *last);
            }
        }
        rest
    }

    /// The ids, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.ranges.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// A number over exactly this set: equal sets, equal numbers.
    pub fn checksum(&self, start: u64) -> u64 {
        self.ranges
            .iter()
            .fold(start, |sum, (first, last)| crate::timing::mix(crate::timing::mix(sum ^ first).wrapping_add(*last)))
    }

    fn insert_range(&mut self, mut first: u64, mut last: u64) {
        let before = self.ranges.range(..first).next_back().map(|(f, l)| (*f, *l));
        if let Some((before_first, before_last)) = before
            && before_last >= first - 1
        {
            first = before_first;
            last = last.max(before_last);
        }
        let upper = last.saturating_add(1);
        let touched: Vec<u64> = self.ranges.range(first..=upper).map(|(f, _)| *f).collect();
        for start in touched {
            if let Some(end) = self.ranges.remove(&start) {
                last = last.max(end);
            }
        }
        self.ranges.insert(first, last);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn both(ids: &[u64]) -> (WriteSet, BTreeSet<u64>) {
        let mut set = WriteSet::default();
        let mut model = BTreeSet::new();
        for id in ids {
            assert_eq!(set.insert(*id), model.insert(*id));
        }
        (set, model)
    }

    proptest! {
        #[test]
        fn behaves_as_a_set(a in prop::collection::vec(0_u64..60, 0..60), b in prop::collection::vec(0_u64..60, 0..60)) {
            let (set_a, model_a) = both(&a);
            let (set_b, model_b) = both(&b);
            prop_assert_eq!(set_a.iter().collect::<BTreeSet<_>>(), model_a.clone());
            prop_assert_eq!(set_a.len(), model_a.len() as u64);
            prop_assert_eq!(set_a.minus(&set_b).iter().collect::<Vec<_>>(), model_a.difference(&model_b).copied().collect::<Vec<_>>());
            let mut union = set_a.clone();
            union.extend(&set_b);
            prop_assert_eq!(union.iter().collect::<Vec<_>>(), model_a.union(&model_b).copied().collect::<Vec<_>>());
            prop_assert_eq!(set_a.checksum(1) == set_b.checksum(1), model_a == model_b);
        }
    }

    #[test]
    fn the_ends_of_the_numbers_are_no_trap() {
        let (set, _) = both(&[u64::MAX, 0, u64::MAX - 1]);
        assert_eq!(set.len(), 3);
        assert!(set.contains(u64::MAX) && !set.contains(1));
    }
}
