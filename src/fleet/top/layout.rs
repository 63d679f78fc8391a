//! How the rows of the screen are divided.

/// The least height of a pane: its title, the titles of its columns, and a row.
const MIN_HEIGHT: usize = 3;

/// The heights of three tables, whose lines are `wanted`, and of the events below them, with a title line
/// each. A table without lines has none. The focused one, counted from the top, grows faster.
pub(super) fn heights(wanted: [usize; 3], focus: usize, available: usize) -> [usize; 4] {
    let mut heights = [0; 4];
    let most = |pane: usize| match wanted.get(pane) {
        Some(0) => 0,
        Some(lines) => lines + 1,
        None => available,
    };
    let mut left = available;
    let first = [focus].into_iter().chain((0..4).filter(|pane| *pane != focus));
    for pane in first.clone() {
        let least = MIN_HEIGHT.min(most(pane));
        if let (Some(rest), Some(height)) = (left.checked_sub(least), heights.get_mut(pane)) {
            *height = least;
            left = rest;
        }
    }
    while left > 0 {
        let before = left;
        for pane in first.clone() {
            let by = if pane == focus { 2 } else { 1 };
            if let Some(height) = heights.get_mut(pane).filter(|height| **height > 0) {
                let grown = (*height + by).min(most(pane)).min(*height + left).max(*height);
                left -= grown - *height;
                *height = grown;
            }
        }
        if left == before {
            break;
        }
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_as_high_as_their_rows_and_events_have_the_rest() {
        assert_eq!(heights([2, 3, 0], 0, 22), [3, 4, 0, 15]);
        assert_eq!(heights([0, 0, 0], 0, 22), [0, 0, 0, 22]);
    }

    #[test]
    fn the_pane_with_the_focus_grows_faster_and_all_is_used() {
        for focus in 0..4 {
            for available in 3..100 {
                let heights = heights([201, 50, 30], focus, available);
                assert_eq!(heights.iter().sum::<usize>(), available);
                let focused = heights[focus];
                assert!(heights.iter().all(|height| *height <= focused || available > 85), "{heights:?}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out_but_not_the_focus() {
        assert_eq!(heights([10, 10, 10], 2, 8), [3, 0, 5, 0]);
        assert_eq!(heights([10, 10, 10], 3, 3), [0, 0, 0, 3]);
    }
}
