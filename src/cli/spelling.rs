//! Words that are nearly the same: what was mistyped.

/// Whether an option may be a mistyped other one: it differs in a quarter of its letters at most, or in their
/// order.
pub(super) fn is_near(option: &str, other: &str) -> bool {
    let [option, other] = [option, other].map(|name| name.trim_start_matches('-'));
    let sorted = |name: &str| {
        let mut letters: Vec<_> = name.chars().collect();
        letters.sort_unstable();
        letters
    };
    distance(option, other) <= (option.len() / 4).max(1) || sorted(option) == sorted(other)
}

/// The word that is closest to this one, if it differs in at most an eighth of its characters or in two.
pub(super) fn nearest<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let with_distance = words.into_iter().map(|other| (distance(word, other), other));
    let (distance, nearest) = with_distance.min_by_key(|(distance, _)| *distance)?;
    (distance <= (nearest.len() / 8).max(2)).then_some(nearest)
}

/// The number of characters to insert, remove or replace to make one word of another.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<_> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, char) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(char != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}
