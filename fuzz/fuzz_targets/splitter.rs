//! The splitter finds the same in all chunkings as a model in the whole stream, and passes or removes every
//! byte. The input is the line limit, [sizes of chunks](chunks::sizes) and a stream.

#![no_main]

#[path = "../../tests/library/support/checked.rs"]
mod checked;
mod chunks;
#[path = "../../tests/library/support/reader.rs"]
mod reader;

use libfuzzer_sys::fuzz_target;
use reader::{MODES, Reader, model};

/// An additional chunk size, so that reading ends if all others are zero.
const LAST_SIZE: usize = 64;

fuzz_target!(|data: &[u8]| {
    let Some((limit, rest)) = data.split_first() else { return };
    let max = usize::from(*limit) + 1;
    let (mut sizes, stream) = chunks::sizes(rest);
    let end_apart = sizes.len() % 2 == 1;
    sizes.push(LAST_SIZE);
    for mode in MODES {
        let expected = model(mode, max, stream);
        assert_eq!(
            expected.output.len() + expected.removed.len(),
            stream.len(),
            "{mode:?}: passed and removed"
        );
        for sizes in [&[usize::MAX][..], &sizes] {
            let mut reader = Reader::new(mode, max);
            // No state of the first stream affects the second one.
            for _ in 0..2 {
                if let Err(error) = reader.read_in_chunks(stream, sizes, end_apart) {
                    panic!("{mode:?}, in {sizes:?}: {error}");
                }
                assert_eq!(std::mem::take(&mut reader.found), expected, "{mode:?}, in {sizes:?}");
            }
        }
    }
});
