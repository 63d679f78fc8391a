//! Placeholders in paths and other values of options: one command line serves all workers of a pool.
//!
//! `{pid}` is the sidecar's process id, `{ppid}` its parent's at the start, and `{env:NAME}` the value of an
//! environment variable; `{{` and `}}` write a brace. Any other brace is an error: a placeholder that is
//! misspelled would otherwise be the name of one file for all workers.
//!
//! A variable's value is inserted as it is, and may contain `/` and `..`: the environment belongs to whoever
//! wrote the command line, and `{env:DIR}/x` is meant.

use super::option::{Given, Origin, Several, complete, parser, repeated_by};
use clap::{Error, builder::TypedValueParser};
use nix::unistd::{getpid, getppid};
use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::Display,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
};
use thiserror::Error;

/// Why a template cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// Something else is in braces.
    #[error("unknown placeholder '{{{0}}}': expected {{pid}}, {{ppid}} or {{env:NAME}}; {{{{ writes a brace")]
    Unknown(String),
    /// A brace that belongs to no placeholder.
    #[error(
        "'{0}' without its counterpart: a placeholder is {{pid}}, {{ppid}} or {{env:NAME}}; \
        {{{{ and }}}} write braces"
    )]
    Unpaired(char),
    /// The variable is not in the environment, or empty, which counts as unset.
    #[error("the environment variable {0} is not set")]
    Unset(String),
    /// The variable's value has more than one line.
    #[error("the environment variable {0} contains a line break")]
    LineBreak(String),
}

/// Whether the text contains a placeholder for a process id.
pub fn has_process_id(text: &str) -> bool {
    ["{pid}", "{ppid}"].iter().any(|placeholder| text.contains(placeholder))
}

/// Any path but the empty one, with its origin; placeholders are replaced in both.
pub fn path_template() -> impl TypedValueParser<Value = Given<PathBuf>> {
    parser(|origin: &Origin| {
        let origin = expanded(origin)?;
        if origin.text().is_empty() {
            return Err(origin.missing());
        }
        if origin.text() == "-" {
            let cause = "not standard output: write /dev/stdout, or ./- for a file of this name";
            return Err(complete(origin.error(cause)));
        }
        Ok(Given { value: PathBuf::from(origin.text()), origin })
    })
}

/// A value, by a function, with its origin; placeholders are replaced in both.
pub fn named_template<T, E>(
    parse: impl Fn(&OsStr) -> Result<T, E> + Clone + Send + Sync + 'static,
) -> impl TypedValueParser<Value = Given<T>>
where
    T: Clone + Send + Sync + 'static,
    E: Display + 'static,
{
    parser(move |origin: &Origin| {
        let origin = expanded(origin)?;
        let value = parse(origin.text()).map_err(|cause| complete(origin.error(cause)))?;
        Ok(Given { value, origin })
    })
}

/// A value of an option that can be repeated, by a function; placeholders are replaced first. `check` gets
/// the value as it was written, to refuse placeholders that make no sense in it.
pub fn repeated_template<T, E>(
    check: impl Fn(&str) -> Result<(), &'static str> + Clone + Send + Sync + 'static,
    parse: impl Fn(&str) -> Result<T, E> + Clone + Send + Sync + 'static,
) -> impl TypedValueParser<Value = Several<T>>
where
    T: Clone + Send + Sync + 'static,
    E: Display + 'static,
{
    repeated_by(move |written| {
        written.parse(&check)?;
        let origin = expanded(&written)?;
        Ok(Given { value: origin.parse(&parse)?, origin })
    })
}

fn expanded(origin: &Origin) -> Result<Origin, Error> {
    let text = expand(origin.text().as_bytes(), |name| env::var_os(name));
    let text = text.map_err(|cause| complete(origin.error(cause)))?;
    Ok(origin.with_text(OsString::from_vec(text)))
}

/// The text with its placeholders replaced, variables by this function.
fn expand(mut rest: &[u8], variable: impl Fn(&OsStr) -> Option<OsString>) -> Result<Vec<u8>, TemplateError> {
    let mut expanded = Vec::with_capacity(rest.len());
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'{' | b'}')) {
        let (literal, from_brace) = rest.split_at(at);
        expanded.extend_from_slice(literal);
        if from_brace.starts_with(b"{{") || from_brace.starts_with(b"}}") {
            expanded.extend(from_brace.first());
            rest = from_brace.get(2..).unwrap_or_default();
            continue;
        }
        let inside = from_brace.strip_prefix(b"{").ok_or(TemplateError::Unpaired('}'))?;
        let end = inside.iter().position(|byte| *byte == b'}').ok_or(TemplateError::Unpaired('{'))?;
        let (placeholder, from_end) = inside.split_at(end);
        expanded.extend(value(placeholder, &variable)?);
        rest = from_end.get(1..).unwrap_or_default();
    }
    expanded.extend_from_slice(rest);
    Ok(expanded)
}

fn value(
    placeholder: &[u8],
    variable: impl Fn(&OsStr) -> Option<OsString>,
) -> Result<Vec<u8>, TemplateError> {
    let shown = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    match placeholder {
        b"pid" => Ok(getpid().to_string().into_bytes()),
        b"ppid" => Ok(getppid().to_string().into_bytes()),
        _ => {
            let name = placeholder.strip_prefix(b"env:").filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| TemplateError::Unknown(shown(placeholder)))?;
            let value = variable(OsStr::from_bytes(name)).filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| TemplateError::Unset(shown(name)))?.into_vec();
            // A ready file and a log have one line for each path.
            let has_line_break = value.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
            if has_line_break { Err(TemplateError::LineBreak(shown(name))) } else { Ok(value) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &[u8]) -> Result<Vec<u8>, TemplateError> {
        expand(text, |name| match name.to_str() {
            Some("DIR") => Some("/run/../a".into()),
            Some("BYTES") => Some(OsString::from_vec(vec![b'{', 0xFF])),
            Some("EMPTY") => Some(OsString::new()),
            Some("LINES") => Some("a\nb".into()),
            _ => None,
        })
    }

    #[test]
    fn placeholders_and_doubled_braces_are_replaced() {
        let (pid, parent) = (getpid(), getppid());
        for (text, expected) in [
            ("/run/a.sock", "/run/a.sock".to_owned()),
            ("", String::new()),
            ("{pid}", pid.to_string()),
            ("{env:DIR}/w-{pid}-{ppid}.log", format!("/run/../a/w-{pid}-{parent}.log")),
            ("{{pid}}", "{pid}".into()),
            ("{{{pid}}}", format!("{{{pid}}}")),
            ("a}}b{{", "a}b{".into()),
        ] {
            assert_eq!(of(text.as_bytes()), Ok(expected.into_bytes()), "{text}");
        }
        // A value is not a template, and neither it nor the text need be UTF-8.
        assert_eq!(of(b"\xFE{env:BYTES}"), Ok(b"\xFE{\xFF".to_vec()));
    }

    #[test]
    fn errors_name_the_placeholder_or_the_variable() {
        for (text, expected) in [
            ("{PID}", "unknown placeholder '{PID}': expected {pid}, {ppid} or {env:NAME}; {{ writes a brace"),
            ("{}", "unknown placeholder '{}': expected"),
            ("{env:}", "unknown placeholder '{env:}': expected"),
            ("{ pid }", "unknown placeholder '{ pid }': expected"),
            (
                "a{pid",
                "'{' without its counterpart: a placeholder is {pid}, {ppid} or {env:NAME}; {{ and }} ",
            ),
            ("a}", "'}' without its counterpart"),
            ("{pid}}", "'}' without its counterpart"),
            ("{env:NO_SUCH}", "the environment variable NO_SUCH is not set"),
            ("{env:EMPTY}", "the environment variable EMPTY is not set"),
            ("{env:LINES}", "the environment variable LINES contains a line break"),
        ] {
            let error = of(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
