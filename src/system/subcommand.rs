//! The names of the subcommands, and what each does: that is needed before a command line is parsed, and to
//! recognize other processes by theirs.

/// What a subcommand does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It starts a worker, which it does not serve.
    Wraps,
    /// It is a sidecar without a worker.
    Serves,
    /// Anything else. It may listen, too, as `gather` does.
    Other,
}

/// The subcommand that starts a worker.
pub const EXPECT: &str = "expect";

/// The subcommand that is a sidecar without a worker.
pub const REPLAY: &str = "replay";

/// All of them, in the order of the help.
const ROLES: [(&str, Role); 10] = [
    (EXPECT, Role::Wraps),
    (REPLAY, Role::Serves),
    ("decode", Role::Other),
    ("tail", Role::Other),
    ("ps", Role::Other),
    ("status", Role::Other),
    ("top", Role::Other),
    ("gather", Role::Other),
    ("completions", Role::Other),
    ("install", Role::Other),
];

/// The names.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    ROLES.into_iter().map(|(name, _)| name)
}

/// What the subcommand of this name does; none if there is no such one.
pub fn role(word: &str) -> Option<Role> {
    ROLES.into_iter().find(|(name, _)| *name == word).map(|(_, role)| role)
}
