//! Compares the glob matcher with results of Python's `fnmatch`, stored by `fixtures/globs.py`.

use telemetry_sidecar::control::glob::Glob;

#[test]
fn every_vector_agrees_with_python() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/globs.json");
    let text = std::fs::read_to_string(path).expect("fixtures/globs.json is readable");
    let vectors: Vec<(String, String, bool)> =
        serde_json::from_str(&text).expect("an array of [pattern, name, expected]");
    assert!(vectors.len() > 300, "only {} vectors", vectors.len());

    let mismatches: Vec<String> = vectors
        .iter()
        .filter(|(pattern, name, expected)| Glob::new(pattern).matches(name) != *expected)
        .map(|(pattern, name, expected)| format!("\n{pattern:?} on {name:?}: Python says {expected}"))
        .collect();
    let first = mismatches.get(..20).unwrap_or(&mismatches).concat();
    assert!(mismatches.is_empty(), "{} disagreements, the first of them:{first}", mismatches.len());
}
