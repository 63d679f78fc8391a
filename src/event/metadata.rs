//! The metadata that the user adds to events (`--metadata`).

use std::collections::BTreeMap;

/// Adds entries whose keys are not there. Of repeated keys the last one counts.
pub fn add_missing(metadata: &mut BTreeMap<String, String>, added: &[(String, String)]) {
    for (key, value) in added.iter().rev() {
        if !metadata.contains_key(key) {
            metadata.insert(key.clone(), value.clone());
        }
    }
}
