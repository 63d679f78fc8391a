//! Notices that the first workers have come.

/// The numbers of workers that looks have found.
#[derive(Debug, Default)]
pub(super) struct FirstWorkers {
    /// How many there were at the last look; none before the first one.
    last: Option<usize>,
    is_over: bool,
}

impl FirstWorkers {
    /// Called at each look. If the first one finds no workers, this is true once: at the look that finds as
    /// many as the one before it, because then the whole pool is there.
    pub(super) fn have_come(&mut self, count: usize) -> bool {
        let last = self.last.replace(count);
        let have_come = !self.is_over && count > 0 && last == Some(count);
        self.is_over |= have_come || last.is_none() && count > 0;
        have_come
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noticed_at(counts: &[usize]) -> Vec<usize> {
        let mut first = FirstWorkers::default();
        let looks = counts.iter().enumerate();
        looks.filter(|(_, count)| first.have_come(**count)).map(|(at, _)| at).collect()
    }

    #[test]
    fn the_first_workers_are_noticed_once() {
        assert_eq!(noticed_at(&[0, 0, 7, 20, 20, 20, 0, 1, 1]), [4]);
        assert!(noticed_at(&[0, 0, 1, 0, 2]).is_empty());
        // The first look has said it.
        assert!(noticed_at(&[5, 5, 20, 20, 0, 1, 1]).is_empty());
    }
}
