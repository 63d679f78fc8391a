//! How options are parsed: clap parsers whose errors are one line that names the option, or the variable.
//!
//! Each room defines its own options with these parsers. They know where a value came from, which clap's own
//! parsers do not report, and they accept what the operating system accepts: a value need not be UTF-8.

use super::file_error;
use clap::{
    Arg, Command, Error, ValueEnum,
    builder::{PossibleValue, TypedValueParser},
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};
use std::{
    ffi::{OsStr, OsString},
    fmt::Display,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// Error messages show this many characters of a value.
const MAX_SHOWN_CHARS: usize = 200;

/// Where a value came from: its option or variable, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    name: String,
    text: OsString,
    source: ValueSource,
}

impl Origin {
    /// The origin of a value of this argument.
    pub fn new(argument: Option<&Arg>, text: &OsStr, source: ValueSource) -> Self {
        let variable = argument.and_then(Arg::get_env).filter(|_| source == ValueSource::EnvVariable);
        let name = match (variable, argument) {
            (Some(variable), _) => variable.display().to_string(),
            (None, Some(argument)) => match (argument.get_long(), argument.get_value_names()) {
                (Some(long), _) => format!("--{long}"),
                (None, Some([name, ..])) => name.to_string(),
                (None, _) => argument.get_id().to_string(),
            },
            (None, None) => String::new(),
        };
        Self { name, text: text.to_owned(), source }
    }

    /// The origin of the value of a variable that no option has.
    pub fn of_variable(name: &str, text: &OsStr) -> Self {
        Self { name: name.to_owned(), text: text.to_owned(), source: ValueSource::EnvVariable }
    }

    /// The option or the variable, as error messages name it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the value was typed, and is not from the environment.
    pub fn is_command_line(&self) -> bool {
        self.source == ValueSource::CommandLine
    }

    /// Whether the value was not given at all.
    pub fn is_default(&self) -> bool {
        self.source == ValueSource::DefaultValue
    }

    /// `<name>: '<text>': <cause>`
    pub fn error(&self, cause: impl Display) -> String {
        let mut shown = self.text.display().to_string();
        if let Some((end, _)) = shown.char_indices().nth(MAX_SHOWN_CHARS) {
            shown.replace_range(end.., "…");
        }
        let cause = file_error::describe(path_in(&self.text), cause);
        format!("{}: '{shown}': {cause}", self.name)
    }

    pub(super) fn parse<T, E: Display>(&self, parse: impl Fn(&str) -> Result<T, E>) -> Result<T, Error> {
        let text = self.text.to_str().ok_or_else(|| complete(self.error("not UTF-8")))?;
        parse(text).map_err(|cause| complete(self.error(cause)))
    }

    /// The value's text.
    pub(super) fn text(&self) -> &OsStr {
        &self.text
    }

    /// The same with another text.
    pub(super) fn with_text(&self, text: OsString) -> Self {
        Self { text, ..self.clone() }
    }

    /// The origin of each value of an option that can be repeated: a variable has one value on each line that
    /// is not empty.
    fn lines(&self) -> Vec<Self> {
        if self.source != ValueSource::EnvVariable {
            return vec![self.clone()];
        }
        let lines = self.text.as_bytes().split(|byte| *byte == b'\n');
        let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let lines = lines.filter(|line| !line.is_empty());
        lines.map(|line| self.with_text(OsStr::from_bytes(line).to_owned())).collect()
    }

    pub(super) fn missing(&self) -> Error {
        complete(format!("{}: a value is missing", self.name))
    }
}

/// The file or the unix socket that a value names, if it names one.
fn path_in(text: &OsStr) -> &Path {
    let bytes = text.as_bytes();
    let prefixes = [&b"unix:"[..], b"json:"];
    let path = prefixes.into_iter().find_map(|prefix| bytes.strip_prefix(prefix)).unwrap_or(bytes);
    Path::new(OsStr::from_bytes(path))
}

/// A clap error whose message needs nothing added.
pub(super) fn complete(line: String) -> Error {
    let mut error = Error::new(ErrorKind::ValueValidation);
    error.insert(ContextKind::Custom, ContextValue::String(line));
    error
}

/// A value and where it came from, for checks that need more than the value itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Its option or variable.
    pub origin: Origin,
}

/// One value of the command line, or all of a variable.
#[derive(Debug, Clone)]
pub struct Several<T>(Vec<Given<T>>);

impl<T> Several<T> {
    /// All values of an option that can be repeated.
    pub fn flatten(all: Vec<Self>) -> impl Iterator<Item = Given<T>> {
        all.into_iter().flat_map(|several| several.0)
    }
}

/// A clap parser made of a function of a value's origin, which has the value's text.
#[derive(Clone)]
pub struct Parser<F> {
    parse: F,
    possible: Vec<PossibleValue>,
}

impl<T, F> TypedValueParser for Parser<F>
where
    F: Fn(&Origin) -> Result<T, Error> + Clone + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        self.parse_ref_(command, argument, value, ValueSource::CommandLine)
    }

    fn parse_ref_(
        &self,
        _: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<T, Error> {
        (self.parse)(&Origin::new(argument, value, source))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        (!self.possible.is_empty()).then(|| Box::new(self.possible.iter().cloned()) as Box<_>)
    }
}

pub(super) fn parser<T, F: Fn(&Origin) -> Result<T, Error>>(parse: F) -> Parser<F> {
    Parser { parse, possible: Vec::new() }
}

/// A value, by a function.
pub fn value<T, E>(
    parse: impl Fn(&str) -> Result<T, E> + Clone + Send + Sync + 'static,
) -> impl TypedValueParser<Value = T>
where
    T: Clone + Send + Sync + 'static,
    E: Display + 'static,
{
    parser(move |origin| origin.parse(&parse))
}

/// A value, by a function, with its origin.
pub fn named<T, E>(
    parse: impl Fn(&str) -> Result<T, E> + Clone + Send + Sync + 'static,
) -> impl TypedValueParser<Value = Given<T>>
where
    T: Clone + Send + Sync + 'static,
    E: Display + 'static,
{
    parser(move |origin| Ok(Given { value: origin.parse(&parse)?, origin: origin.clone() }))
}

/// A value of an option that can be repeated, by a function.
pub fn repeated<T, E>(
    parse: impl Fn(&str) -> Result<T, E> + Clone + Send + Sync + 'static,
) -> impl TypedValueParser<Value = Several<T>>
where
    T: Clone + Send + Sync + 'static,
    E: Display + 'static,
{
    repeated_by(move |origin| Ok(Given { value: origin.parse(&parse)?, origin }))
}

/// The same, by a function of each value as it was given.
pub(super) fn repeated_by<T: Clone + Send + Sync + 'static>(
    read: impl Fn(Origin) -> Result<Given<T>, Error> + Clone + Send + Sync + 'static,
) -> impl TypedValueParser<Value = Several<T>> {
    parser(move |origin| origin.lines().into_iter().map(&read).collect::<Result<_, _>>().map(Several))
}

/// Any path but the empty one, with its origin.
pub fn path() -> impl TypedValueParser<Value = Given<PathBuf>> {
    parser(|origin: &Origin| {
        if origin.text.is_empty() {
            return Err(origin.missing());
        }
        Ok(Given { value: PathBuf::from(&origin.text), origin: origin.clone() })
    })
}

/// One of the words of a type.
pub fn one_of<T: ValueEnum + Clone + Send + Sync + 'static>() -> impl TypedValueParser<Value = T> {
    let possible: Vec<_> = T::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect();
    let names: Vec<_> = possible.iter().map(|value| value.get_name().to_owned()).collect();
    let parse = move |origin: &Origin| {
        let expected = |_| format!("expected {}", either(&names));
        origin.parse(|word| T::from_str(word, false).map_err(expected))
    };
    Parser { parse, possible }
}

/// `a`, `a or b`, `a, b or c`
pub fn either(words: &[impl AsRef<str>]) -> String {
    let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    match &words[..] {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [words @ .., last] => format!("{} or {last}", words.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outcome of one option `--x`, whose variable would be `X`.
    fn parsed<T: Clone + Send + Sync + 'static>(
        parser: &impl TypedValueParser<Value = T>,
        value: &[u8],
        source: ValueSource,
    ) -> Result<T, String> {
        let argument = Arg::new("x").long("x").env("X");
        let value = OsStr::from_bytes(value);
        let parsed = parser.parse_ref_(&Command::new("test"), Some(&argument), value, source);
        parsed.map_err(|error| match error.get(ContextKind::Custom) {
            Some(ContextValue::String(line)) => line.clone(),
            other => panic!("{other:?}"),
        })
    }

    fn number(text: &str) -> Result<u8, String> {
        text.parse().map_err(|_| "expected a number".into())
    }

    #[test]
    fn errors_name_the_option_or_the_variable_and_the_value() {
        let typed = |text| parsed(&value(number), text, ValueSource::CommandLine);
        assert_eq!(typed(b"7"), Ok(7));
        assert_eq!(typed(b"a").unwrap_err(), "--x: 'a': expected a number");
        assert_eq!(typed(b"a\xff").unwrap_err(), "--x: 'a\u{fffd}': not UTF-8");
        let long = typed("ü".repeat(1000).as_bytes()).unwrap_err();
        assert_eq!(long, format!("--x: '{}…': expected a number", "ü".repeat(200)));
        let inherited = parsed(&value(number), b"a", ValueSource::EnvVariable);
        assert_eq!(inherited.unwrap_err(), "X: 'a': expected a number");
        assert_eq!(parsed(&path(), b"", ValueSource::CommandLine).unwrap_err(), "--x: a value is missing");
    }

    #[test]
    fn a_variable_has_one_value_on_each_line_and_the_command_line_one_value() {
        let text = |text: &str| Ok::<_, String>(text.to_owned());
        let values = |value, source| -> Vec<String> {
            let several = parsed(&repeated(text), value, source).unwrap();
            Several::flatten(vec![several]).map(|given| given.value).collect()
        };
        assert_eq!(values(b"a\r\n\nb c\n", ValueSource::EnvVariable), ["a", "b c"]);
        assert_eq!(values(b"a\nb", ValueSource::CommandLine), ["a\nb"]);
        let wrong = parsed(&repeated(number), b"1\nb", ValueSource::EnvVariable);
        assert_eq!(wrong.unwrap_err(), "X: 'b': expected a number");
    }

    #[test]
    fn words_are_joined_as_in_a_sentence() {
        assert_eq!(
            [either(&["a"]), either(&["a", "b"]), either(&["a", "b", "c"])],
            ["a", "a or b", "a, b or c"]
        );
    }
}
