//! Which parts of a file came by.
//! Absent on purpose: their content.

use std::ops::Range;

use super::super::event::Moved;

/// Separate ranges remembered of one file; only files that are moved in parts have any number of them.
const RANGES_MAX: usize = 64;

/// Merged ranges in order, a bounded number of them.
#[derive(Debug, Default)]
pub(in super::super) struct Ranges {
    merged: Vec<Range<u64>>,
    more: bool,
}

impl Ranges {
    pub(in super::super) fn add(&mut self, new: Range<u64>) {
        if new.is_empty() {
            return;
        }
        if let Some(last) = self.merged.last_mut()
            && last.end == new.start
        {
            last.end = new.end;
            return;
        }
        let from = self.merged.partition_point(|r| r.end < new.start);
        let to = self.merged.partition_point(|r| r.start <= new.end);
        let touched = self.merged.get(from..to).unwrap_or_default();
        let start = touched.first().map_or(new.start, |r| r.start.min(new.start));
        let end = touched.last().map_or(new.end, |r| r.end.max(new.end));
        if touched.is_empty() && self.merged.len() >= RANGES_MAX {
            self.more = true;
            return;
        }
        self.merged.splice(from..to, std::iter::once(start..end));
    }

    /// One past the last byte that came.
    pub(in super::super) fn end(&self) -> u64 {
        self.merged.last().map_or(0, |r| r.end)
    }

    /// The ranges that are told, and whether there are more.
    pub(in super::super) fn told(mut self) -> (Vec<Range<u64>>, bool) {
        let more = self.more || self.merged.len() > Moved::RANGES_MAX;
        self.merged.truncate(Moved::RANGES_MAX);
        (self.merged, more)
    }

    /// All of `0..end` and nothing else.
    pub(in super::super) fn are_all_up_to(&self, end: u64) -> bool {
        !self.more
            && match self.merged.as_slice() {
                [] => end == 0,
                [one] => *one == (0..end),
                _ => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_in_any_order_and_are_bounded() {
        let mut ranges = Ranges::default();
        for range in [5..7, 0..2, 2..3, 9..9, 3..5, 20..21, 6..8] {
            ranges.add(range);
        }
        assert_eq!(ranges.end(), 21);
        assert_eq!(ranges.told(), (vec![0..8, 20..21], false));
        let mut many = Ranges::default();
        for n in 0..10_000u64 {
            many.add(2 * n..2 * n + 1);
        }
        assert_eq!(many.merged.len(), RANGES_MAX);
        assert!(many.more && !many.are_all_up_to(19_999));
    }
}
