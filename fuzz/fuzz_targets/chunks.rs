//! How an input is cut.

/// The sizes of chunks that the start of an input says, at most seven, and the rest of it: a byte with their number,
/// and a byte for each.
pub fn sizes(data: &[u8]) -> (Vec<usize>, &[u8]) {
    let Some((count, rest)) = data.split_first() else { return (Vec::new(), data) };
    let (sizes, rest) = rest.split_at(usize::from(count % 8).min(rest.len()));
    (sizes.iter().copied().map(usize::from).collect(), rest)
}
