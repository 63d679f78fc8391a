//! Errors of files in words: the system's own text names neither the directory that is missing nor what was
//! expected.

use nix::errno::Errno;
use std::{
    fmt::Display,
    io::{self, ErrorKind},
    path::Path,
};

/// The cause of an error about this path. Errors are compared as text, because parsers return text.
pub fn describe(path: &Path, cause: impl Display) -> String {
    let mut cause = cause.to_string();
    // The path of a temporary file is of no use.
    if let Some((system, _)) = cause.split_once(" at path \"") {
        cause.truncate(system.len());
    }
    let is = |errno: Errno| cause == io::Error::from(errno).to_string();
    if is(Errno::ENOENT)
        && let Some(directory) = missing_directory(path)
    {
        return format!("the directory {} does not exist", directory.display());
    }
    if is(Errno::ENOTDIR)
        && let Some(file) = path.ancestors().skip(1).find(|path| path.exists() && !path.is_dir())
    {
        return format!("{} is not a directory", file.display());
    }
    if is(Errno::EACCES) && matches!(path.try_exists(), Ok(false)) {
        return format!("{cause} in the directory {}", directory(path).display());
    }
    if is(Errno::EISDIR) || cause == io::Error::from(ErrorKind::IsADirectory).to_string() {
        return "it is a directory, expected a file".to_owned();
    }
    cause
}

/// The directory of a file, `.` if the path has none.
pub fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The directory of a file, if it does not exist.
pub fn missing_directory(path: &Path) -> Option<&Path> {
    Some(directory(path)).filter(|directory| matches!(directory.try_exists(), Ok(false)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File, OpenOptions};

    #[test]
    fn the_cause_names_what_is_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let cause = |path: &Path| describe(path, OpenOptions::new().append(true).open(path).unwrap_err());
        let missing = dir.path().join("missing/x");
        let expected = format!("the directory {} does not exist", missing.parent().unwrap().display());
        assert_eq!(cause(&missing), expected);
        assert_eq!(cause(&file.join("x/y")), format!("{} is not a directory", file.display()));
        assert_eq!(cause(dir.path()), "it is a directory, expected a file");
        let other = dir.path().join("other");
        assert_eq!(cause(&other), File::open(&other).unwrap_err().to_string());
        assert_eq!(describe(dir.path(), "another cause"), "another cause");
        let denied = io::Error::from(Errno::EACCES).to_string();
        assert_eq!(describe(&file, &denied), denied);
        let expected = format!("{denied} in the directory {}", dir.path().display());
        assert_eq!(describe(&other, format!("{denied} at path \"/x/.tmp\"")), expected);
    }
}
