//! The worker's program file: where it is, and which interpreter a script names.

use std::{
    env,
    ffi::OsStr,
    fs::File,
    io::{self, Read as _},
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
};

/// As much of a script's first line as Linux reads.
const FIRST_LINE_BYTES: u64 = 256;

/// Nothing without any of these permissions is executed, for root neither.
const EXECUTABLE: u32 = 0o111;

/// Whether there is such a file, and it is not only data. Executing it may fail even so.
pub(crate) fn is_there(program: &OsStr) -> bool {
    let is_executable = |path: &Path| {
        path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & EXECUTABLE != 0)
    };
    search(program, is_executable).is_some()
}

/// The file that execvp(3) executes, if there is one.
pub(super) fn find(program: &OsStr) -> Option<PathBuf> {
    search(program, Path::is_file)
}

/// The first file of this name, where execvp(3) looks, that is one.
fn search(program: &OsStr, is_one: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(program)).filter(|path| is_one(path));
    }
    // Where execvp(3) looks without the variable.
    let path = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    env::split_paths(&path).map(|folder| folder.join(program)).find(|path| is_one(path))
}

/// The first line of a script, without `#!`; none if the file is not a script.
pub(super) fn interpreter(path: &Path) -> Option<Vec<u8>> {
    let read = |file: File| -> io::Result<Vec<u8>> {
        let mut start = Vec::new();
        file.take(FIRST_LINE_BYTES).read_to_end(&mut start)?;
        Ok(start)
    };
    let start = File::open(path).and_then(read).ok()?;
    let line = start.split(|byte| *byte == b'\n').next()?;
    line.strip_prefix(b"#!").map(<[u8]>::to_vec)
}

/// Whether the program is Node, or a script that Node runs.
pub(crate) fn is_node(program: &OsStr) -> bool {
    let is_name = |word: &OsStr| {
        Path::new(word).file_name().is_some_and(|name| ["node", "nodejs"].iter().any(|node| name == *node))
    };
    is_name(program)
        || find(program).and_then(|path| interpreter(&path)).is_some_and(|line| {
            // The interpreter may be an argument: /usr/bin/env node
            line.split(u8::is_ascii_whitespace).any(|word| is_name(OsStr::from_bytes(word)))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn node_is_recognised_by_its_name_and_in_the_first_line_of_a_script() {
        let folder = tempfile::tempdir().unwrap();
        let script = |text: &str| {
            let path = folder.path().join("script");
            fs::write(&path, text).unwrap();
            is_node(path.as_os_str())
        };
        for name in ["node", "nodejs", "/opt/node/bin/node", "./node"] {
            assert!(is_node(OsStr::new(name)), "{name}");
        }
        for name in ["node18x", "nodemon", "/opt/node/worker", "sh", ""] {
            assert!(!is_node(OsStr::new(name)), "{name}");
        }
        for line in ["#!/usr/bin/env node\n", "#!/usr/bin/env -S node --trace\nx", "#! /usr/local/bin/nodejs"]
        {
            assert!(script(line), "{line}");
        }
        for line in
            ["#!/bin/sh\nnode", "node", "", "#!\nnode", "#!/usr/bin/env nodeenv\n", "\u{7f}ELF node\n"]
        {
            assert!(!script(line), "{line}");
        }
    }
}
