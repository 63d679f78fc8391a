//! The control group that a process's memory is counted in, of either version.

use std::{
    fs::File,
    io::Read as _,
    os::unix::ffi::OsStringExt as _,
    path::{Component, Path, PathBuf},
};

/// The most bytes that are read of a file: hosts with thousands of containers have as many mounts.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Limits from here on mean unlimited: version 1 has no word for that, but a number near 2^63.
const NO_LIMIT: u64 = 1 << 60;

/// A control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MemoryGroup {
    version: Version,
    /// Where its hierarchy is mounted.
    mount: PathBuf,
    directory: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

impl MemoryGroup {
    /// The one of a process in this `/proc`, or of `self`. A process that has ended and was not reaped still
    /// has one in version 2; in version 1 it is in the uppermost one.
    ///
    /// `root` is where the root of the file system is.
    pub(super) fn of(process: &str, root: &Path) -> Option<Self> {
        let groups = read(&root.join("proc").join(process).join("cgroup"))?;
        let (version, path) = path_of(&groups)?;
        let mounts = read(&root.join("proc/self/mountinfo"))?;
        let (mounted, at) = mounts.lines().find_map(|line| mount_of(line, version))?;
        let mount = root.join(at.strip_prefix("/").ok()?);
        let inner = path.strip_prefix(mounted).ok()?;
        // A group outside of the process's control group namespace.
        if inner.components().any(|component| component == Component::ParentDir) {
            return None;
        }
        Some(Self { version, directory: mount.join(inner), mount })
    }

    /// Whether a process keeps its group in `/proc` until it is reaped.
    pub(super) fn stays_after_exit(&self) -> bool {
        self.version == Version::V2
    }

    /// How many processes in it the kernel has killed because memory ran out, ever. Where the memory of the
    /// group is not counted by itself, of the next group above of which it is.
    pub(super) fn oom_kills(&self) -> Option<u64> {
        // Without the groups below: those are of others.
        let files = match self.version {
            Version::V1 => &["memory.oom_control"][..],
            Version::V2 => &["memory.events.local", "memory.events"],
        };
        self.with_parents().find_map(|directory| {
            files.iter().find_map(|file| counter(&read(&directory.join(file))?, "oom_kill"))
        })
    }

    /// The smallest limit of it and those above, in bytes.
    pub(super) fn limit(&self) -> Option<u64> {
        let file = match self.version {
            Version::V1 => "memory.limit_in_bytes",
            Version::V2 => "memory.max",
        };
        let limit = |directory: &Path| read(&directory.join(file))?.trim().parse().ok();
        self.with_parents().filter_map(limit).min().filter(|limit| *limit < NO_LIMIT)
    }

    /// Its directory and those above, up to the mount.
    fn with_parents(&self) -> impl Iterator<Item = &Path> {
        self.directory.ancestors().take_while(|directory| directory.starts_with(&self.mount))
    }
}

/// The value of a counter in a file of lines `NAME NUMBER`.
pub(super) fn counter(lines: &str, name: &str) -> Option<u64> {
    lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The content of a small file.
pub(super) fn read(path: &Path) -> Option<String> {
    let mut content = Vec::new();
    File::open(path).ok()?.take(MAX_BYTES).read_to_end(&mut content).ok()?;
    Some(String::from_utf8_lossy(&content).into_owned())
}

/// The version and the path of a process's group, from the lines `ID:CONTROLLERS:PATH` of its file. Memory is
/// counted by version 2 if no hierarchy of version 1 does it.
fn path_of(groups: &str) -> Option<(Version, &Path)> {
    let lines = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        Some((controllers, Path::new(path.strip_suffix(" (deleted)").unwrap_or(path))))
    });
    let has_memory = |controllers: &str| controllers.split(',').any(|name| name == "memory");
    let first = lines.clone().find(|(controllers, _)| has_memory(controllers));
    let first = first.map(|(_, path)| (Version::V1, path));
    first.or_else(|| {
        lines.clone().find(|(controllers, _)| controllers.is_empty()).map(|(_, path)| (Version::V2, path))
    })
}

/// The mounted group and where it is mounted, if the line of `mountinfo` is of the hierarchy of memory.
fn mount_of(line: &str, version: Version) -> Option<(PathBuf, PathBuf)> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, at) = (fields.next()?, fields.next()?);
    let mut kind = kind.split(' ');
    let (name, _, options) = (kind.next()?, kind.next()?, kind.next()?);
    let is_of_memory = match version {
        Version::V1 => name == "cgroup" && options.split(',').any(|option| option == "memory"),
        Version::V2 => name == "cgroup2",
    };
    is_of_memory.then(|| (unescaped(root), unescaped(at)))
}

/// A path with its escapes, such as `\040` for a space, replaced.
fn unescaped(path: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escape = after.get(..3).filter(|_| byte == b'\\');
        let escaped = escape.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}
