//! Splits an input into chunks.

/// Reads the sizes of at most seven chunks (a byte with their number, then one byte for each) and returns
/// them with the rest of the input.
pub fn sizes(data: &[u8]) -> (Vec<usize>, &[u8]) {
    let Some((count, rest)) = data.split_first() else { return (Vec::new(), data) };
    let (sizes, rest) = rest.split_at(usize::from(count % 8).min(rest.len()));
    (sizes.iter().copied().map(usize::from).collect(), rest)
}
