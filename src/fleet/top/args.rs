//! The options of `top`.

use super::Source;
use crate::{
    fleet::{args::ClientArgs, target::Target},
    system::{
        option::value,
        value::{Period, nonzero_duration},
    },
};
use clap::Args;
use std::{
    ffi::{OsStr, OsString},
    path::Path,
    time::Duration,
};

/// Long enough for rates, and short enough to wait for.
const INTERVAL: Period = Period(Duration::from_secs(2));

/// The options of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Sidecars to look at, or files with recorded stderr or decoded events; none is all that run here
    #[arg(
        value_name = "SIDECAR|FILE",
        long_help = "What to look at: sidecars (HOST:PORT, unix:PATH or unix:@NAME, or the process id of \
            one of this host or of its worker), files with recorded stderr, compressed or not, or with the \
            events that decode has printed; \"-\" is standard input. Without one, all sidecars of this user \
            that run on this host, and those that start meanwhile"
    )]
    pub from: Vec<OsString>,

    /// Print the tables once, as text
    #[arg(
        long,
        long_help = "Print the tables once, as text, after observing for --interval. This is also done if \
            standard output is not a terminal"
    )]
    pub once: bool,

    /// With --once: how long to observe
    #[arg(
        long,
        value_name = "DURATION",
        default_value_t = INTERVAL,
        value_parser = value(nonzero_duration)
    )]
    pub interval: Period,

    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

impl TopArgs {
    /// What to show: a file if there is one of that name, else an address.
    ///
    /// # Errors
    ///
    /// A message about an argument that is neither.
    pub fn sources(&self) -> Result<Vec<Source>, String> {
        self.from.iter().map(|word| source(word)).collect()
    }
}

fn source(word: &OsStr) -> Result<Source, String> {
    if word == "-" || Path::new(word).exists() {
        return Ok(Source::Recording(word.into()));
    }
    let expected = "neither a file nor a sidecar: HOST:PORT, unix:PATH, unix:@NAME or PID";
    let target = word.to_str().and_then(|word| word.parse::<Target>().ok()).map(Source::Sidecar);
    target.ok_or_else(|| format!("SIDECAR|FILE: '{}': {expected}", word.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_file_if_there_is_one() {
        assert_eq!(source("-".as_ref()), Ok(Source::Recording("-".into())));
        assert_eq!(source("/dev/null".as_ref()), Ok(Source::Recording("/dev/null".into())));
        assert!(matches!(source("127.0.0.1:4400".as_ref()), Ok(Source::Sidecar(_))));
        assert!(matches!(source("unix:/run/x.sock".as_ref()), Ok(Source::Sidecar(_))));
        assert_eq!(source("4711".as_ref()), Ok(Source::Sidecar(Target::Process(4711))));
        assert!(source("missing.log".as_ref()).unwrap_err().contains("'missing.log': neither"));
    }
}
