//! All paths of the decoder have the same result, and the same as serde_json for what that accepts. The input
//! is lines without their `TELEMETRY:` prefix.

#![no_main]

#[path = "../../tests/library/support/checked.rs"]
mod checked;
#[path = "../../tests/library/support/outcome.rs"]
mod outcome;

use libfuzzer_sys::fuzz_target;
use outcome::{by_serde_json, outcomes, same};
use telemetry_sidecar::input::{decode::Decoder, dialect::SNAKEPIT};

fuzz_target!(|data: &[u8]| {
    let lines: Vec<_> = data.split_inclusive(|byte| *byte == b'\n').collect();
    let own = [("a", "1"), ("correlation_id", "2")].map(|(key, value)| (key.into(), value.into()));
    for metadata in [Vec::new(), own.into()] {
        let has_own = !metadata.is_empty();
        let slow = outcomes(&mut Decoder::new(&SNAKEPIT, metadata.clone()), true, &lines);
        let mut decoder = Decoder::new(&SNAKEPIT, metadata);
        // In the second pass the shapes of the lines are known.
        for _ in 0..2 {
            holds(same(&slow, &outcomes(&mut decoder, false, &lines), &lines));
        }
        for (line, outcome) in lines.iter().zip(&slow) {
            if let Ok(decoded) = outcome {
                holds(decoded.check());
            }
            if !has_own {
                holds(by_serde_json::check(line, outcome));
            }
        }
    }
});

#[track_caller]
fn holds(checked: Result<(), String>) {
    if let Err(error) = checked {
        panic!("{error}");
    }
}
