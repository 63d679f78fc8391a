//! Bearer tokens: reading them from a file and checking requests.

use super::{
    reload::Source,
    source_file::{SourceCause, SourceError, SourceFile},
};
use http::{HeaderMap, header::AUTHORIZATION};
use subtle::{Choice, ConstantTimeEq as _};

/// The scheme in the Authorization header. Its case does not matter (RFC 9110, section 11.1).
const SCHEME: &[u8] = b"bearer ";

/// A file with a token on each line.
#[derive(Debug)]
pub struct TokenFile(pub SourceFile);

impl Source for TokenFile {
    type Value = Tokens;

    fn files(&self) -> Vec<&SourceFile> {
        vec![&self.0]
    }

    fn load(&self) -> Result<Tokens, SourceError> {
        Tokens::parse(&self.0.read()?).map_err(|cause| self.0.error(cause))
    }
}

/// Tokens, each of which is accepted, so that an old and a new one can be valid while clients change over.
/// They are never logged.
pub struct Tokens(Vec<Vec<u8>>);

impl Tokens {
    /// Reads one token from each line that is not blank, without the white space around it.
    fn parse(text: &[u8]) -> Result<Self, SourceCause> {
        let mut tokens = Vec::new();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let token = line.trim_ascii();
            if !token.iter().all(u8::is_ascii_graphic) {
                return Err(SourceCause::InvalidToken { line: index + 1 });
            }
            if !token.is_empty() {
                tokens.push(token.to_vec());
            }
        }
        if tokens.is_empty() {
            return Err(SourceCause::NoToken);
        }
        Ok(Self(tokens))
    }

    /// The token that a client sends.
    pub fn first(&self) -> &[u8] {
        self.0.first().map_or(b"", Vec::as_slice)
    }

    /// Whether a request has one of the tokens. The time that the comparison takes reveals a token's length
    /// at most.
    pub fn accept(&self, headers: &HeaderMap) -> bool {
        let Some(given) = bearer(headers) else { return false };
        let any = |found: Choice, token: &Vec<u8>| found | token.ct_eq(given);
        self.0.iter().fold(Choice::from(0), any).into()
    }
}

/// The token of a request.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_token_on_each_line() {
        let tokens = Tokens::parse(b"old\r\n\n  new \n").ok().unwrap();
        assert_eq!((tokens.0.len(), tokens.first()), (2, &b"old"[..]));
        for (text, cause) in
            [(&b""[..], "no token"), (b" \n\n", "no token"), (b"a\nb c\n", "line 2"), (b"\xff\x00", "line 1")]
        {
            assert!(
                Tokens::parse(text).err().unwrap().to_string().contains(cause),
                "{}",
                text.escape_ascii()
            );
        }
    }

    #[test]
    fn a_request_needs_one_of_the_tokens_in_full() {
        let tokens = Tokens::parse(b"old\nnew\n").ok().unwrap();
        let accepts = |value: &'static str| {
            tokens.accept(&HeaderMap::from_iter([(AUTHORIZATION, http::HeaderValue::from_static(value))]))
        };
        assert!(["Bearer old", "bearer new", "BEARER  new"].into_iter().all(accepts));
        let wrong = ["old", "Bearer", "Bearer ", "Bearer ol", "Bearer oldnew", "Bearer old new", "Basic old"];
        assert!(!wrong.into_iter().any(accepts));
        assert!(!tokens.accept(&HeaderMap::new()));
    }
}
