//! Whose processes `/proc` shows.

use std::{fs, path::Path};

/// Whether `/proc` has the process ids that this process sees itself. Otherwise it belongs to another PID
/// namespace, where the same ids are those of other processes. `root` is where the root of the file system
/// is.
pub(crate) fn is_own_proc(root: &Path) -> bool {
    let own = fs::read_link(root.join("proc/self"));
    own.is_ok_and(|own| own.to_str() == Some(&std::process::id().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn another_id_than_the_own_one_is_that_of_another_namespace() {
        assert!(is_own_proc(Path::new("/")));
        let root = tempfile::tempdir().unwrap();
        assert!(!is_own_proc(root.path()), "without /proc");
        fs::create_dir(root.path().join("proc")).unwrap();
        symlink((std::process::id() + 1).to_string(), root.path().join("proc/self")).unwrap();
        assert!(!is_own_proc(root.path()));
    }
}
