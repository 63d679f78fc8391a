//! The source text keeps the rules of the crate's documentation: rooms import only lower ranks, and lines are
//! short.
//!
//! The ranks are read from the table in `src/lib.rs`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Also in rustfmt.toml, which does not apply to comments and strings.
const MAX_COLUMNS: usize = 110;

/// What the decoder and the splitter must not use: their result depends on the bytes only.
const IMPURE: [&str; 4] = ["fs", "io", "net", "time"];

/// All files below `path`, without build output, data, and the `.proto` files of OpenTelemetry.
fn files(path: &Path, found: &mut Vec<PathBuf>) {
    let skipped = ["target", "corpus", "artifacts", "node_modules", "__pycache__", "logs", "opentelemetry"];
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            if !skipped.iter().any(|name| entry.file_name() == *name) {
                files(&entry.path(), found);
            }
        }
    } else {
        found.push(path.into());
    }
}

/// The text of all files below these paths that have one of these extensions, by their paths from the
/// project's root.
fn sources(paths: &[&str], extensions: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for path in paths {
        files(&Path::new(ROOT).join(path), &mut found);
    }
    found.sort();
    let has_extension =
        |path: &Path| extensions.contains(&path.extension().map_or("", |e| e.to_str().unwrap_or("?")));
    found.retain(|path| has_extension(path));
    let named = found.into_iter().filter_map(|path| {
        let text = String::from_utf8(fs::read(&path).unwrap()).ok()?;
        Some((path.strip_prefix(ROOT).unwrap().to_str()?.to_owned(), text))
    });
    named.collect()
}

/// The ranks of the rooms, from the lines `//!  RANK  ROOM  …` of the crate's documentation.
fn ranks() -> BTreeMap<String, u32> {
    let text = fs::read_to_string(Path::new(ROOT).join("src/lib.rs")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let mut words = line.strip_prefix("//!")?.split_whitespace();
        let rank = words.next()?.parse().ok()?;
        Some((words.next()?.to_owned(), rank))
    });
    rows.collect()
}

/// Text with comments replaced by spaces, so that positions stay the same.
fn without_comments(text: &str) -> String {
    let lines = text.split_inclusive('\n').map(|line| {
        let comment = line.find("//").filter(|at| !line[..*at].ends_with(':')).unwrap_or(line.len());
        line.char_indices().map(|(at, c)| if at < comment || c == '\n' { c } else { ' ' }).collect::<String>()
    });
    lines.collect()
}

/// The first names of the paths that follow `root` in a file, with their lines: of `crate::{a::{b, c}, d}`
/// these are `a` and `d`.
fn names_after(text: &str, root: &str) -> Vec<(usize, String)> {
    let mut starts = Vec::new();
    for (at, _) in text.match_indices(root) {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let start = at + root.len();
        if !text[start..].starts_with('{') {
            starts.push(start);
            continue;
        }
        let mut depth = 0;
        for (offset, c) in text[start..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if depth == 1 && matches!(c, '{' | ',') {
                starts.push(start + offset + 1);
            }
        }
    }
    let name_at = |start: usize| {
        let rest = text[start..].trim_start();
        let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        let line = text[..text.len() - rest.len()].matches('\n').count() + 1;
        (line, name.to_owned())
    };
    starts.into_iter().map(name_at).filter(|(_, name)| !name.is_empty()).collect()
}

/// What in a file of `src/` breaks a rule.
fn broken_rules(name: &str, text: &str, ranks: &BTreeMap<String, u32>) -> Vec<String> {
    let text = without_comments(text);
    let inside = name.strip_prefix("src/").unwrap_or(name);
    if inside == "lib.rs" {
        return Vec::new();
    }
    let room = inside.split(['/', '.']).next().unwrap_or_default();
    if inside != "main.rs" && !inside.contains('/') {
        return vec![format!("{name}: src/ has only lib.rs, main.rs and rooms")];
    }
    let Some(own_rank) = ranks.get(room) else {
        return vec![format!("{name}: the room '{room}' is not in the table of src/lib.rs")];
    };
    let mut broken = Vec::new();
    let root = if room == "main" { "telemetry_sidecar::" } else { "crate::" };
    for (line, used) in names_after(&text, root) {
        match ranks.get(&used) {
            _ if used == room => {}
            Some(rank) if rank < own_rank => {}
            Some(rank) => broken.push(format!(
                "{name}:{line}: '{room}' must not use '{used}': rank {rank} is not below {own_rank}"
            )),
            None => broken.push(format!("{name}:{line}: '{used}' is not a room of src/lib.rs's table")),
        }
    }
    if room == "input" {
        for (line, used) in names_after(&text, "std::") {
            if IMPURE.contains(&used.as_str()) {
                broken.push(format!(
                    "{name}:{line}: 'input' must not use std::{used}: no clock, no descriptor"
                ));
            }
        }
    }
    broken
}

#[test]
fn rooms_use_only_lower_ranks() {
    let ranks = ranks();
    let sources = sources(&["src"], &["rs"]);
    let broken: Vec<_> = sources.iter().flat_map(|(name, text)| broken_rules(name, text, &ranks)).collect();
    assert!(broken.is_empty(), "{} broken rules:\n{}", broken.len(), broken.join("\n"));
    for room in ranks.keys() {
        let directory = format!("src/{room}/");
        let exists = room == "main" || sources.iter().any(|(name, _)| name.starts_with(&directory));
        assert!(exists, "the table of src/lib.rs has a room '{room}' that does not exist");
    }
}

#[test]
fn broken_ranks_are_found() {
    let ranks =
        BTreeMap::from([("event".into(), 0), ("hub".into(), 2), ("input".into(), 2), ("grpc".into(), 4)]);
    let found = |name: &str, text: &str| broken_rules(name, text, &ranks);
    let allowed = "use crate::event::Batch;\n// crate::grpc\nuse crate::{\n event::{a, b},\n hub::c,\n};\n";
    assert_eq!(found("src/hub/mod.rs", allowed), Vec::<String>::new());
    for (text, line) in [
        ("use crate::grpc::server;", 1),
        ("use crate::{\n    event::{\n        a,\n        b,\n    },\n    grpc,\n};", 6),
        ("\nfn f() { crate::input::decode::f(); }", 2),
        ("use crate::{event, input::{x, y}, event};", 1),
        ("use crate::nowhere::x;", 1),
    ] {
        let broken = found("src/hub/mod.rs", text);
        assert_eq!(broken.len(), 1, "{text}: {broken:?}");
        assert!(broken[0].starts_with(&format!("src/hub/mod.rs:{line}: ")), "{broken:?}");
    }
    assert_eq!(
        found("src/input/splitter.rs", "use std::{ops::Range, time::Instant};\nstd::fs::read();").len(),
        2
    );
    assert_eq!(found("src/loose.rs", "").len(), 1);
    assert_eq!(found("src/attic/mod.rs", "").len(), 1);
}

/// Paths with lines that are still too long.
const NOT_YET_SHORT: [&str; 2] = ["tests/interop/python/", "tests/transparency/"];

#[test]
fn lines_are_short() {
    let paths = ["src", "tests", "benches", "fuzz", "helpers", "proto", "build.rs"];
    let mut long = Vec::new();
    let sources = sources(&paths, &["", "cjs", "go", "mjs", "proto", "py", "rs", "sh", "ts"]).into_iter();
    for (name, text) in sources.filter(|(name, _)| !NOT_YET_SHORT.iter().any(|path| name.starts_with(path))) {
        for (number, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > MAX_COLUMNS {
                long.push(format!("{name}:{}: {columns} columns", number + 1));
            }
        }
    }
    assert!(long.is_empty(), "more than {MAX_COLUMNS} columns in {} lines:\n{}", long.len(), long.join("\n"));
}
