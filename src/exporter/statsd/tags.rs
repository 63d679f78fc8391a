//! Tags of DogStatsD, and characters of text.

/// Maximum length of a tag in characters, key included:
/// <https://docs.datadoghq.com/getting_started/tagging/#define-tags>.
const MAX_TAG_CHARS: usize = 200;

/// No tag needs more bytes of a value.
pub const MAX_TAG_BYTES: usize = 4 * MAX_TAG_CHARS;

/// Maximum number of characters used of a name. A line with more would not fit a datagram anyway.
const MAX_TEXT_CHARS: usize = 8192;

/// A tag of all lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    key: String,
    text: String,
}

impl Tag {
    /// `KEY:VALUE`, or a word. Disallowed characters are replaced.
    pub fn new(text: &str) -> Self {
        let key = text.split_once(':').map_or(text, |(key, _)| key);
        let text = clean(text, is_value_char);
        Self { key: key.to_owned(), text: text.take(MAX_TAG_CHARS).collect() }
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The labels of an event, in buffers that are used again.
#[derive(Debug, Default)]
pub struct Labels {
    text: String,
    /// The ends of each key and each value.
    ends: Vec<[usize; 2]>,
}

impl Labels {
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    pub fn push(&mut self, key: &str, value: &str) {
        self.text.push_str(key);
        let key = self.text.len();
        self.text.push_str(value);
        self.ends.push([key, self.text.len()]);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let starts = [0].into_iter().chain(self.ends.iter().map(|[_, value]| *value));
        let part = |start, end| self.text.get(start..end).unwrap_or_default();
        starts.zip(&self.ends).map(move |(start, [key, value])| (part(start, *key), part(*key, *value)))
    }
}

/// Appends a tag, after a comma unless it is the first.
pub fn push_tag(tags: &mut String, key: &str, value: &str) {
    separate(tags);
    let tag = clean(key, is_tag_char).chain([':']).chain(clean(value, is_value_char));
    tags.extend(tag.take(MAX_TAG_CHARS));
}

/// Appends a comma unless there is no tag yet.
pub fn separate(tags: &mut String) {
    if !tags.is_empty() {
        tags.push(',');
    }
}

/// Whether a tag's key may contain this character: letters and digits of all scripts, and what is printable
/// in ASCII and not a separator.
fn is_tag_char(char: char) -> bool {
    char != ':' && is_value_char(char)
}

/// The same for a tag's value: only the first colon separates.
fn is_value_char(char: char) -> bool {
    char.is_alphanumeric() || (char.is_ascii_graphic() && !matches!(char, '|' | '#' | '@' | ','))
}

/// Replaces disallowed characters by `_` and truncates to what could fit a datagram.
pub fn clean(text: &str, may_be: impl Fn(char) -> bool) -> impl Iterator<Item = char> {
    text.chars().take(MAX_TEXT_CHARS).map(move |char| if may_be(char) { char } else { '_' })
}
