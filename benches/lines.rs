//! The events that the benchmarks print and decode: one structure, varying values, any length.

/// The length of the shortest event with the usual structure, in bytes of JSON.
const USUAL_BYTES: usize = 255;

/// The JSON of one event, `json_bytes` long and at least 76. If that is too short for the usual structure, it
/// has fewer keys.
pub fn event(number: u64, timestamp_ns: u64, json_bytes: usize) -> String {
    if json_bytes < USUAL_BYTES {
        return padded(json_bytes, |padding| {
            format!(
                r#"{{"event": "a.b", "metadata": {{"x": "{padding}"}}, "timestamp_ns": {timestamp_ns:019}}}"#
            )
        });
    }
    let duration = 1_000_000 + number * 37 % 9_000_000;
    let (whole, fraction) = (10 + number % 90, number * 7 % 1000);
    let session = number % 10_000_000;
    let trace = u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    padded(json_bytes, |padding| {
        format!(
            "{{\"event\": \"tool.execution.stop\", \
             \"measurements\": {{\"duration\": {duration}, \"queue_time\": {whole}.{fraction:03}}}, \
             \"metadata\": {{\"tool\": \"resize\", \"session_id\": \"s-{session:07}\", \
             \"mode\": \"{padding}\"}}, \
             \"timestamp_ns\": {timestamp_ns:019}, \"correlation_id\": \"{trace:032x}\"}}"
        )
    })
}

fn padded(bytes: usize, line: impl Fn(&str) -> String) -> String {
    let missing = bytes.saturating_sub(line("").len());
    line(&"x".repeat(missing))
}
